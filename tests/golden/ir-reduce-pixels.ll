define void @reduce_pixels_ac9af93da076(ptr noalias readonly %operands, ptr noalias readonly %scalars, ptr noalias %scratch, i64 %begin, i64 %end) #0 {
entry:
  %v1 = load ptr, ptr %operands, align 8
  %v2 = getelementptr inbounds i8, ptr %operands, i64 8
  %v3 = load ptr, ptr %v2, align 8
  %v4 = sub nsw i64 %end, %begin
  %v5 = mul nsw i64 %v4, 16
  br label %L6.head
L6.head:
  %L6.i = phi i64 [ 0, %entry ], [ %L6.next, %L6.latch ]
  %L6.c0 = phi <8 x float> [ zeroinitializer, %entry ], [ %v29, %L6.latch ]
  %L6.in = icmp slt i64 %L6.i, %v5
  br i1 %L6.in, label %L6.body, label %L6.exit
L6.body:
  %v7 = mul nsw i64 %L6.i, 8
  %v8 = mul nsw i64 %v7, 4
  %v9 = getelementptr inbounds i8, ptr %v1, i64 %v8
  %v10 = load <8 x float>, ptr %v9, align 4
  %v11 = fadd <8 x float> %L6.c0, %v10
  %v12 = add nsw i64 %L6.i, 1
  %v13 = mul nsw i64 %v12, 8
  %v14 = mul nsw i64 %v13, 4
  %v15 = getelementptr inbounds i8, ptr %v1, i64 %v14
  %v16 = load <8 x float>, ptr %v15, align 4
  %v17 = fadd <8 x float> %v11, %v16
  %v18 = add nsw i64 %L6.i, 2
  %v19 = mul nsw i64 %v18, 8
  %v20 = mul nsw i64 %v19, 4
  %v21 = getelementptr inbounds i8, ptr %v1, i64 %v20
  %v22 = load <8 x float>, ptr %v21, align 4
  %v23 = fadd <8 x float> %v17, %v22
  %v24 = add nsw i64 %L6.i, 3
  %v25 = mul nsw i64 %v24, 8
  %v26 = mul nsw i64 %v25, 4
  %v27 = getelementptr inbounds i8, ptr %v1, i64 %v26
  %v28 = load <8 x float>, ptr %v27, align 4
  %v29 = fadd <8 x float> %v23, %v28
  br label %L6.latch
L6.latch:
  %L6.next = add nsw i64 %L6.i, 4
  br label %L6.head
L6.exit:
  store <8 x float> %L6.c0, ptr %v3, align 4
  ret void
}


attributes #0 = { nounwind "no-trapping-math"="true" "frame-pointer"="none" "prefer-vector-width"="512" }
