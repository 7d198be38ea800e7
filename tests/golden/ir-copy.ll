define void @copy_d51429813ba8(ptr noalias readonly %operands, ptr noalias readonly %scalars, ptr noalias %scratch, i64 %begin, i64 %end) #0 {
entry:
  %v1 = load ptr, ptr %operands, align 8
  %v2 = getelementptr inbounds i8, ptr %operands, i64 8
  %v3 = load ptr, ptr %v2, align 8
  %v4 = sub nsw i64 %end, %begin
  br label %L5.head
L5.head:
  %L5.i = phi i64 [ 0, %entry ], [ %L5.next, %L5.latch ]
  %L5.in = icmp slt i64 %L5.i, %v4
  br i1 %L5.in, label %L5.body, label %L5.exit
L5.body:
  %v6 = mul nsw i64 %L5.i, 512
  %v7 = getelementptr inbounds i8, ptr %v1, i64 %v6
  %v8 = mul nsw i64 %L5.i, 192
  %v9 = getelementptr inbounds i8, ptr %v3, i64 %v8
  br label %L10.head
L10.head:
  %L10.i = phi i64 [ 0, %L5.body ], [ %L10.next, %L10.latch ]
  %v11 = mul nsw i64 %L10.i, 8
  %v12 = mul nsw i64 %v11, 4
  %v13 = getelementptr inbounds i8, ptr %v7, i64 %v12
  %v14 = udiv i64 %L10.i, 16
  %v15 = mul nsw i64 %v14, 48
  %v16 = urem i64 %L10.i, 16
  %v17 = mul nsw i64 %v16, 3
  %v18 = add nsw i64 %v15, %v17
  %v19 = mul nsw i64 %v18, 4
  %v20 = getelementptr inbounds i8, ptr %v9, i64 %v19
  %v21 = load <8 x float>, ptr %v13, align 4
  call void @llvm.masked.store.v8f32.p0(<8 x float> %v21, ptr %v20, i32 4, <8 x i1> <i1 1, i1 1, i1 1, i1 0, i1 0, i1 0, i1 0, i1 0>)
  br label %L10.latch
L10.latch:
  %L10.next = add nsw i64 %L10.i, 1
  %L10.in = icmp slt i64 %L10.next, 16
  br i1 %L10.in, label %L10.head, label %L10.exit
L10.exit:
  br label %L5.latch
L5.latch:
  %L5.next = add nsw i64 %L5.i, 1
  br label %L5.head
L5.exit:
  ret void
}

declare void @llvm.masked.store.v8f32.p0(<8 x float>, ptr, i32, <8 x i1>)
attributes #0 = { nounwind "no-trapping-math"="true" "frame-pointer"="none" "prefer-vector-width"="512" }
