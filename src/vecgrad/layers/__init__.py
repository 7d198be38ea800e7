"""Layers: each states its forward pass and its closed-form backward pass once, against an emitter."""

from vecgrad.layers.activations import ReLU, Sigmoid, Softmax, Tanh
from vecgrad.layers.base import Layer, Parameter
from vecgrad.layers.conv import Conv2D, Dense
from vecgrad.layers.pool import AvgPool2D, MaxPool2D
from vecgrad.layers.reshape import Flatten, Rescale
from vecgrad.layers.sequential import Sequential

__all__ = [
    "AvgPool2D",
    "Conv2D",
    "Dense",
    "Flatten",
    "Layer",
    "MaxPool2D",
    "Parameter",
    "ReLU",
    "Rescale",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
]
