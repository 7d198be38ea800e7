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
  %v7 = add nsw i64 %L6.i, 1
  %v8 = add nsw i64 %L6.i, 2
  %v9 = add nsw i64 %L6.i, 3
  %v10 = mul nsw i64 %L6.i, 8
  %v11 = mul nsw i64 %v10, 4
  %v12 = getelementptr inbounds i8, ptr %v1, i64 %v11
  %v13 = load <8 x float>, ptr %v12, align 4
  %v14 = fadd <8 x float> %L6.c0, %v13
  %v15 = mul nsw i64 %v7, 8
  %v16 = mul nsw i64 %v15, 4
  %v17 = getelementptr inbounds i8, ptr %v1, i64 %v16
  %v18 = load <8 x float>, ptr %v17, align 4
  %v19 = fadd <8 x float> %v14, %v18
  %v20 = mul nsw i64 %v8, 8
  %v21 = mul nsw i64 %v20, 4
  %v22 = getelementptr inbounds i8, ptr %v1, i64 %v21
  %v23 = load <8 x float>, ptr %v22, align 4
  %v24 = fadd <8 x float> %v19, %v23
  %v25 = mul nsw i64 %v9, 8
  %v26 = mul nsw i64 %v25, 4
  %v27 = getelementptr inbounds i8, ptr %v1, i64 %v26
  %v28 = load <8 x float>, ptr %v27, align 4
  %v29 = fadd <8 x float> %v24, %v28
  br label %L6.latch
L6.latch:
  %L6.next = add nsw i64 %L6.i, 4
  br label %L6.head
L6.exit:
  store <8 x float> %L6.c0, ptr %v3, align 4
  ret void
}


attributes #0 = { nounwind "no-trapping-math"="true" "frame-pointer"="none" "prefer-vector-width"="512" }
