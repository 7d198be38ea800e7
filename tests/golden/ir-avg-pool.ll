define void @avg_pool_d6531d3eb9b2(ptr noalias readonly %operands, ptr noalias readonly %scalars, ptr noalias %scratch, i64 %begin, i64 %end) #0 {
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
  %v8 = mul nsw i64 %L5.i, 128
  %v9 = getelementptr inbounds i8, ptr %v3, i64 %v8
  br label %L10.head
L10.head:
  %L10.i = phi i64 [ 0, %L5.body ], [ %L10.next, %L10.latch ]
  br label %L11.head
L11.head:
  %L11.i = phi i64 [ 0, %L10.head ], [ %L11.next, %L11.latch ]
  %v12 = mul nsw i64 %L10.i, 2
  %v13 = add nsw i64 %v12, 0
  %v14 = mul nsw i64 %v13, 4
  %v15 = mul nsw i64 %L11.i, 2
  %v16 = add nsw i64 %v15, 0
  %v17 = add nsw i64 %v14, %v16
  %v18 = mul nsw i64 %v17, 8
  %v19 = mul nsw i64 %v18, 4
  %v20 = getelementptr inbounds i8, ptr %v7, i64 %v19
  %v21 = load <8 x float>, ptr %v20, align 4
  %v22 = getelementptr inbounds i8, ptr %v20, i64 32
  %v23 = load <8 x float>, ptr %v22, align 4
  %v24 = getelementptr inbounds i8, ptr %v20, i64 128
  %v25 = load <8 x float>, ptr %v24, align 4
  %v26 = getelementptr inbounds i8, ptr %v20, i64 160
  %v27 = load <8 x float>, ptr %v26, align 4
  %v28 = fadd <8 x float> %v21, %v23
  %v29 = fadd <8 x float> %v28, %v25
  %v30 = fadd <8 x float> %v29, %v27
  %v31 = fdiv <8 x float> %v30, <float 0x4010000000000000, float 0x4010000000000000, float 0x4010000000000000, float 0x4010000000000000, float 0x4010000000000000, float 0x4010000000000000, float 0x4010000000000000, float 0x4010000000000000>
  %v32 = mul nsw i64 %L10.i, 2
  %v33 = add nsw i64 %v32, %L11.i
  %v34 = mul nsw i64 %v33, 8
  %v35 = mul nsw i64 %v34, 4
  %v36 = getelementptr inbounds i8, ptr %v9, i64 %v35
  store <8 x float> %v31, ptr %v36, align 4
  br label %L11.latch
L11.latch:
  %L11.next = add nsw i64 %L11.i, 1
  %L11.in = icmp slt i64 %L11.next, 2
  br i1 %L11.in, label %L11.head, label %L11.exit
L11.exit:
  br label %L10.latch
L10.latch:
  %L10.next = add nsw i64 %L10.i, 1
  %L10.in = icmp slt i64 %L10.next, 2
  br i1 %L10.in, label %L10.head, label %L10.exit
L10.exit:
  br label %L5.latch
L5.latch:
  %L5.next = add nsw i64 %L5.i, 1
  br label %L5.head
L5.exit:
  ret void
}


attributes #0 = { nounwind "no-trapping-math"="true" "frame-pointer"="none" "prefer-vector-width"="512" }
