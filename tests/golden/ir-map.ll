define void @map_b0a38318f482(ptr noalias readonly %operands, ptr noalias readonly %scalars, ptr noalias %scratch, i64 %begin, i64 %end) #0 {
entry:
  %v1 = getelementptr inbounds i8, ptr %scalars, i64 8
  %v2 = load double, ptr %v1, align 8
  %v3 = fptrunc double %v2 to float
  %v4 = insertelement <8 x float> poison, float %v3, i64 0
  %v5 = shufflevector <8 x float> %v4, <8 x float> poison, <8 x i32> zeroinitializer
  %v6 = load ptr, ptr %operands, align 8
  %v7 = getelementptr inbounds i8, ptr %operands, i64 8
  %v8 = load ptr, ptr %v7, align 8
  %v9 = sub nsw i64 %end, %begin
  %v10 = mul nsw i64 %v9, 128
  %v11 = udiv i64 %v10, 8
  br label %L12.head
L12.head:
  %L12.i = phi i64 [ 0, %entry ], [ %L12.next, %L12.latch ]
  %L12.in = icmp slt i64 %L12.i, %v11
  br i1 %L12.in, label %L12.body, label %L12.exit
L12.body:
  %v13 = mul nsw i64 %L12.i, 8
  %v14 = mul nsw i64 %v13, 4
  %v15 = getelementptr inbounds i8, ptr %v6, i64 %v14
  %v16 = load <8 x float>, ptr %v15, align 4
  %v17 = fcmp ole <8 x float> %v16, <float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000>
  %v18 = select <8 x i1> %v17, <8 x float> <float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000>, <8 x float> %v16
  %v19 = fmul <8 x float> %v18, %v5
  %v20 = mul nsw i64 %v13, 4
  %v21 = getelementptr inbounds i8, ptr %v8, i64 %v20
  store <8 x float> %v19, ptr %v21, align 4
  %v22 = add nsw i64 %L12.i, 1
  %v23 = mul nsw i64 %v22, 8
  %v24 = mul nsw i64 %v23, 4
  %v25 = getelementptr inbounds i8, ptr %v6, i64 %v24
  %v26 = load <8 x float>, ptr %v25, align 4
  %v27 = fcmp ole <8 x float> %v26, <float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000>
  %v28 = select <8 x i1> %v27, <8 x float> <float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000>, <8 x float> %v26
  %v29 = fmul <8 x float> %v28, %v5
  %v30 = mul nsw i64 %v23, 4
  %v31 = getelementptr inbounds i8, ptr %v8, i64 %v30
  store <8 x float> %v29, ptr %v31, align 4
  %v32 = add nsw i64 %L12.i, 2
  %v33 = mul nsw i64 %v32, 8
  %v34 = mul nsw i64 %v33, 4
  %v35 = getelementptr inbounds i8, ptr %v6, i64 %v34
  %v36 = load <8 x float>, ptr %v35, align 4
  %v37 = fcmp ole <8 x float> %v36, <float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000>
  %v38 = select <8 x i1> %v37, <8 x float> <float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000>, <8 x float> %v36
  %v39 = fmul <8 x float> %v38, %v5
  %v40 = mul nsw i64 %v33, 4
  %v41 = getelementptr inbounds i8, ptr %v8, i64 %v40
  store <8 x float> %v39, ptr %v41, align 4
  %v42 = add nsw i64 %L12.i, 3
  %v43 = mul nsw i64 %v42, 8
  %v44 = mul nsw i64 %v43, 4
  %v45 = getelementptr inbounds i8, ptr %v6, i64 %v44
  %v46 = load <8 x float>, ptr %v45, align 4
  %v47 = fcmp ole <8 x float> %v46, <float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000>
  %v48 = select <8 x i1> %v47, <8 x float> <float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000>, <8 x float> %v46
  %v49 = fmul <8 x float> %v48, %v5
  %v50 = mul nsw i64 %v43, 4
  %v51 = getelementptr inbounds i8, ptr %v8, i64 %v50
  store <8 x float> %v49, ptr %v51, align 4
  br label %L12.latch
L12.latch:
  %L12.next = add nsw i64 %L12.i, 4
  br label %L12.head
L12.exit:
  ret void
}


attributes #0 = { nounwind "no-trapping-math"="true" "frame-pointer"="none" "prefer-vector-width"="512" }
