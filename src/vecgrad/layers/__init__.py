"""Layers: each states its forward pass and its closed-form backward pass once, against an emitter."""

from vecgrad.layers.activations import ELU, GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Softmax, Tanh
from vecgrad.layers.base import Join, Layer, Parameter, Symbol
from vecgrad.layers.composite import Composite
from vecgrad.layers.conv import Conv2D, Dense
from vecgrad.layers.dropout import Dropout, SpatialDropout2D
from vecgrad.layers.group_norm import GroupNorm, LayerNorm
from vecgrad.layers.joins import Add, Concat
from vecgrad.layers.model import Input, Model
from vecgrad.layers.norm import BatchNorm
from vecgrad.layers.pool import AvgPool2D, GlobalAvgPool2D, GlobalMaxPool2D, MaxPool2D
from vecgrad.layers.reshape import Flatten, Rescale
from vecgrad.layers.residual import Residual
from vecgrad.layers.resize import UpSample2D, ZeroPad2D
from vecgrad.layers.sequential import Sequential
from vecgrad.layers.transposed import ConvTranspose2D

__all__ = [
    "ELU",
    "GELU",
    "Add",
    "AvgPool2D",
    "BatchNorm",
    "Composite",
    "Concat",
    "Conv2D",
    "ConvTranspose2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "GroupNorm",
    "Input",
    "Join",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "MaxPool2D",
    "Model",
    "Parameter",
    "ReLU",
    "Rescale",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "SpatialDropout2D",
    "Symbol",
    "Tanh",
    "UpSample2D",
    "ZeroPad2D",
]
