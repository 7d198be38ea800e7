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
  %v13 = add nsw i64 %L12.i, 1
  %v14 = add nsw i64 %L12.i, 2
  %v15 = add nsw i64 %L12.i, 3
  %v16 = mul nsw i64 %L12.i, 8
  %v17 = mul nsw i64 %v13, 8
  %v18 = mul nsw i64 %v14, 8
  %v19 = mul nsw i64 %v15, 8
  %v20 = mul nsw i64 %v16, 4
  %v21 = getelementptr inbounds i8, ptr %v6, i64 %v20
  %v22 = load <8 x float>, ptr %v21, align 4
  %v23 = fcmp ole <8 x float> %v22, <float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000>
  %v24 = select <8 x i1> %v23, <8 x float> <float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000>, <8 x float> %v22
  %v25 = fmul <8 x float> %v24, %v5
  %v26 = mul nsw i64 %v16, 4
  %v27 = getelementptr inbounds i8, ptr %v8, i64 %v26
  store <8 x float> %v25, ptr %v27, align 4
  %v28 = mul nsw i64 %v17, 4
  %v29 = getelementptr inbounds i8, ptr %v6, i64 %v28
  %v30 = load <8 x float>, ptr %v29, align 4
  %v31 = fcmp ole <8 x float> %v30, <float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000>
  %v32 = select <8 x i1> %v31, <8 x float> <float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000>, <8 x float> %v30
  %v33 = fmul <8 x float> %v32, %v5
  %v34 = mul nsw i64 %v17, 4
  %v35 = getelementptr inbounds i8, ptr %v8, i64 %v34
  store <8 x float> %v33, ptr %v35, align 4
  %v36 = mul nsw i64 %v18, 4
  %v37 = getelementptr inbounds i8, ptr %v6, i64 %v36
  %v38 = load <8 x float>, ptr %v37, align 4
  %v39 = fcmp ole <8 x float> %v38, <float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000>
  %v40 = select <8 x i1> %v39, <8 x float> <float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000>, <8 x float> %v38
  %v41 = fmul <8 x float> %v40, %v5
  %v42 = mul nsw i64 %v18, 4
  %v43 = getelementptr inbounds i8, ptr %v8, i64 %v42
  store <8 x float> %v41, ptr %v43, align 4
  %v44 = mul nsw i64 %v19, 4
  %v45 = getelementptr inbounds i8, ptr %v6, i64 %v44
  %v46 = load <8 x float>, ptr %v45, align 4
  %v47 = fcmp ole <8 x float> %v46, <float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000>
  %v48 = select <8 x i1> %v47, <8 x float> <float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000, float 0x0000000000000000>, <8 x float> %v46
  %v49 = fmul <8 x float> %v48, %v5
  %v50 = mul nsw i64 %v19, 4
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
