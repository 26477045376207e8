// y[walk] = x[walk]: one strided copy serves every operator that only moves elements.
//
// ELEMENT is an unsigned integer of the storage size, so every bit pattern survives. The space has
// `rank` outer axes (shape, x_strides, y_strides; row-major) and two inner axes: na steps of
// xa / ya elements, and nb steps of xb / yb. Strides may be negative or 0; writes never overlap.
// Work-item (i, j, k) owns the tb elements from i * tb on axis b, the ta from j * ta on axis a, in
// outer row k. No local memory, no barrier.

// Rows of x are `xs` apart and become columns of y, whose rows are `ya` apart.
#define COLUMN(s)                                                                          \
  vstore16((ELEMENT16)(r0.s, r1.s, r2.s, r3.s, r4.s, r5.s, r6.s, r7.s, r8.s, r9.s, ra.s,      \
                    rb.s, rc.s, rd.s, re.s, rf.s), 0, y);                                  \
  y += ya;
#define TRANSPOSE16(x, xs)                                                                  \
  const ELEMENT16 r0 = vload16(0, x), r1 = vload16(0, x + xs), r2 = vload16(0, x + 2 * xs),   \
               r3 = vload16(0, x + 3 * xs), r4 = vload16(0, x + 4 * xs),                   \
               r5 = vload16(0, x + 5 * xs), r6 = vload16(0, x + 6 * xs),                   \
               r7 = vload16(0, x + 7 * xs), r8 = vload16(0, x + 8 * xs),                   \
               r9 = vload16(0, x + 9 * xs), ra = vload16(0, x + 10 * xs),                  \
               rb = vload16(0, x + 11 * xs), rc = vload16(0, x + 12 * xs),                 \
               rd = vload16(0, x + 13 * xs), re = vload16(0, x + 14 * xs),                 \
               rf = vload16(0, x + 15 * xs);                                               \
  COLUMN(s0) COLUMN(s1) COLUMN(s2) COLUMN(s3) COLUMN(s4) COLUMN(s5) COLUMN(s6) COLUMN(s7)  \
  COLUMN(s8) COLUMN(s9) COLUMN(sa) COLUMN(sb) COLUMN(sc) COLUMN(sd) COLUMN(se) COLUMN(sf)

__kernel void copy(__global const ELEMENT *x, const long x_start, __global ELEMENT *y,
                   const long y_start, const int rank, const dims_t shape,
                   const dims_t x_strides, const dims_t y_strides, const long na, const long nb,
                   const long xa, const long xb, const long ya, const long yb, const int ta,
                   const int tb) {
  const long row = get_global_id(2);
  const long b0 = (long)get_global_id(0) * tb, a0 = (long)get_global_id(1) * ta;
  const int bs = (int)min((long)tb, nb - b0), as = (int)min((long)ta, na - a0);
  x += x_start + row_offset(row, rank, shape, x_strides) + a0 * xa + b0 * xb;
  y += y_start + row_offset(row, rank, shape, y_strides) + a0 * ya + b0 * yb;
  if (xb == 1 && yb == 1) {
    for (int a = 0; a < as; ++a, x += xa, y += ya) copy_run(y, x, bs);
  } else if (xb == 0 && yb == 1) {
    for (int a = 0; a < as; ++a, x += xa, y += ya) fill_run(y, x[0], bs);
  } else if (bs == 16 && as == 16 && xa == 1 && yb == 1) {
    // A full tile of a transposition: 16 vector loads, 16 vector stores, the swap in registers.
    TRANSPOSE16(x, xb)
  } else {
    for (int a = 0; a < as; ++a, x += xa, y += ya)
      for (int b = 0; b < bs; ++b) y[b * yb] = x[b * xb];
  }
}
