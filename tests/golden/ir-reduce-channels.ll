define void @reduce_channels_ff47a603ee79(ptr noalias readonly %operands, ptr noalias readonly %scalars, ptr noalias %scratch, i64 %begin, i64 %end) #0 {
entry:
  %v1 = load ptr, ptr %operands, align 8
  %v2 = getelementptr inbounds i8, ptr %operands, i64 8
  %v3 = load ptr, ptr %v2, align 8
  %v4 = sub nsw i64 %end, %begin
  %v5 = mul nsw i64 %v4, 16
  br label %L6.head
L6.head:
  %L6.i = phi i64 [ 0, %entry ], [ %L6.next, %L6.latch ]
  %L6.in = icmp slt i64 %L6.i, %v5
  br i1 %L6.in, label %L6.body, label %L6.exit
L6.body:
  %v7 = add nsw i64 %L6.i, 1
  %v8 = mul nsw i64 %L6.i, 8
  %v9 = mul nsw i64 %v8, 4
  %v10 = getelementptr inbounds i8, ptr %v1, i64 %v9
  %v11 = mul nsw i64 %L6.i, 8
  %v12 = mul nsw i64 %v11, 4
  %v13 = getelementptr inbounds i8, ptr %v3, i64 %v12
  %v14 = load <8 x float>, ptr %v10, align 4
  %v15 = fadd <8 x float> %v14, zeroinitializer
  %v16 = shufflevector <8 x float> %v15, <8 x float> poison, <8 x i32> <i32 4, i32 5, i32 6, i32 7, i32 poison, i32 poison, i32 poison, i32 poison>
  %v17 = fadd <8 x float> %v15, %v16
  %v18 = shufflevector <8 x float> %v17, <8 x float> poison, <8 x i32> <i32 2, i32 3, i32 poison, i32 poison, i32 poison, i32 poison, i32 poison, i32 poison>
  %v19 = fadd <8 x float> %v17, %v18
  %v20 = shufflevector <8 x float> %v19, <8 x float> poison, <8 x i32> <i32 1, i32 poison, i32 poison, i32 poison, i32 poison, i32 poison, i32 poison, i32 poison>
  %v21 = fadd <8 x float> %v19, %v20
  %v22 = extractelement <8 x float> %v21, i64 0
  store float %v22, ptr %v13, align 4
  %v23 = mul nsw i64 %v7, 8
  %v24 = mul nsw i64 %v23, 4
  %v25 = getelementptr inbounds i8, ptr %v1, i64 %v24
  %v26 = mul nsw i64 %v7, 8
  %v27 = mul nsw i64 %v26, 4
  %v28 = getelementptr inbounds i8, ptr %v3, i64 %v27
  %v29 = load <8 x float>, ptr %v25, align 4
  %v30 = fadd <8 x float> %v29, zeroinitializer
  %v31 = shufflevector <8 x float> %v30, <8 x float> poison, <8 x i32> <i32 4, i32 5, i32 6, i32 7, i32 poison, i32 poison, i32 poison, i32 poison>
  %v32 = fadd <8 x float> %v30, %v31
  %v33 = shufflevector <8 x float> %v32, <8 x float> poison, <8 x i32> <i32 2, i32 3, i32 poison, i32 poison, i32 poison, i32 poison, i32 poison, i32 poison>
  %v34 = fadd <8 x float> %v32, %v33
  %v35 = shufflevector <8 x float> %v34, <8 x float> poison, <8 x i32> <i32 1, i32 poison, i32 poison, i32 poison, i32 poison, i32 poison, i32 poison, i32 poison>
  %v36 = fadd <8 x float> %v34, %v35
  %v37 = extractelement <8 x float> %v36, i64 0
  store float %v37, ptr %v28, align 4
  br label %L6.latch
L6.latch:
  %L6.next = add nsw i64 %L6.i, 2
  br label %L6.head
L6.exit:
  ret void
}


attributes #0 = { nounwind "no-trapping-math"="true" "frame-pointer"="none" "prefer-vector-width"="512" }
