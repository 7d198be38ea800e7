define void @pack_853e8c5bb66d(ptr noalias readonly %operands, ptr noalias readonly %scalars, ptr noalias %scratch, i64 %begin, i64 %end) #0 {
entry:
  %v1 = mul nsw i64 %begin, 8
  %v2 = add nsw i64 %begin, 1
  %v3 = mul nsw i64 %v2, 8
  %v4 = load ptr, ptr %operands, align 8
  %v5 = getelementptr inbounds i8, ptr %operands, i64 8
  %v6 = load ptr, ptr %v5, align 8
  br label %L7.head
L7.head:
  %L7.i = phi i64 [ 0, %entry ], [ %L7.next, %L7.latch ]
  %v8 = mul nsw i64 %L7.i, 32
  %v9 = getelementptr inbounds i8, ptr %v4, i64 %v8
  %v10 = mul nsw i64 %L7.i, 256
  %v11 = getelementptr inbounds i8, ptr %v6, i64 %v10
  br label %L12.head
L12.head:
  %L12.i = phi i64 [ 0, %L7.head ], [ %L12.next, %L12.latch ]
  %v13 = mul nsw i64 %L12.i, 32
  %v14 = getelementptr inbounds i8, ptr %v9, i64 %v13
  %v15 = mul nsw i64 %L12.i, 256
  %v16 = getelementptr inbounds i8, ptr %v11, i64 %v15
  br label %L17.head
L17.head:
  %L17.i = phi i64 [ %v1, %L12.head ], [ %L17.next, %L17.latch ]
  %L17.in = icmp slt i64 %L17.i, %v3
  br i1 %L17.in, label %L17.body, label %L17.exit
L17.body:
  %v18 = urem i64 %L17.i, 1
  %v19 = urem i64 %L17.i, 8
  %v20 = udiv i64 %L17.i, 8
  %v21 = add nsw i64 %v20, %v18
  %v22 = mul nsw i64 %v21, 8
  %v23 = add nsw i64 %v22, %v19
  %v24 = mul nsw i64 %v23, 32
  %v25 = getelementptr inbounds i8, ptr %v14, i64 %v24
  %v26 = mul nsw i64 %L17.i, 32
  %v27 = getelementptr inbounds i8, ptr %v16, i64 %v26
  %v28 = load <8 x float>, ptr %v25, align 4
  store <8 x float> %v28, ptr %v27, align 4
  %v29 = getelementptr inbounds i8, ptr %v27, i64 32
  br label %L17.latch
L17.latch:
  %L17.next = add nsw i64 %L17.i, 1
  br label %L17.head
L17.exit:
  br label %L12.latch
L12.latch:
  %L12.next = add nsw i64 %L12.i, 1
  %L12.in = icmp slt i64 %L12.next, 1
  br i1 %L12.in, label %L12.head, label %L12.exit
L12.exit:
  br label %L7.latch
L7.latch:
  %L7.next = add nsw i64 %L7.i, 1
  %L7.in = icmp slt i64 %L7.next, 1
  br i1 %L7.in, label %L7.head, label %L7.exit
L7.exit:
  ret void
}


attributes #0 = { nounwind "no-trapping-math"="true" "frame-pointer"="none" "prefer-vector-width"="512" }
