// Matrix products whose right side is computed by the model, or stored in any order.
//
//   y[b, m, n] = act(alpha * (sum over k of left[b, m, k] * right[b, k, n])
//                    + beta * addend[b, m, n] + residual[b, m, n])
//
// One work-item owns ROWS rows by BLOCK columns of one batch entry. Global size:
// (ceil(M / ROWS), ceil(N / BLOCK), batch); local size 1. Pieces of DEPTH along k are copied to
// private memory, whatever their strides and storage; whole dense blocks of the right side are not.
// Order of the sum: one accumulator per element, k ascending.
//
//   left, right, addend, residual, y  buffer and element offset
//   size      M, N, K
//   strides   left: between rows, along k; right: along k, between columns;
//             addend: between rows, between columns; y and residual are dense
//   axes      number of batch axes, described by the four dims_t: extents, and strides of left,
//             right, addend
//   after     has addend, has residual, activation (vector16.cl), unused

#include "vector16.cl"

#define ROWS 7
#define VECTORS 2
#define BLOCK (16 * VECTORS)
#define DEPTH 64

// tile[i][j] = p[i * outer + j * inner] for i < rows, j < columns; 0 up to `width` columns.
inline void gather(COMPUTE *tile, const int width, __global const STORAGE *p, const int rows,
                   const int columns, const long outer, const long inner) {
  for (int i = 0; i < rows; ++i) {
    int j = 0;
    if (inner == 1)
      for (; j < columns; j += 16)
        vstore16(load_some(p + i * outer + j, columns - j), 0, tile + i * width + j);
    else
      for (; j < columns; ++j) tile[i * width + j] = LOAD(p, i * outer + j * inner);
    for (; j < width; ++j) tile[i * width + j] = (COMPUTE)0;
  }
}

// sums += a b over one piece; WEIGHTS is vector v of row k of the right side.
#define MULTIPLY(WEIGHTS)                                                      \
  for (int k = 0; k < depth; ++k) {                                            \
    VEC weights[VECTORS];                                                      \
    UNROLL                                                                     \
    for (int v = 0; v < VECTORS; ++v) weights[v] = WEIGHTS;                    \
    UNROLL                                                                     \
    for (int m = 0; m < ROWS; ++m) {                                           \
      const COMPUTE am = a[m * DEPTH + k];                                     \
      UNROLL                                                                   \
      for (int v = 0; v < VECTORS; ++v) sums[m][v] = am * weights[v] + sums[m][v]; \
    }                                                                          \
  }

__kernel void matmul(__global const STORAGE *left, const long left_start,
                     __global const STORAGE *right, const long right_start,
                     __global const STORAGE *addend, const long addend_start,
                     __global const STORAGE *residual, const long residual_start,
                     __global STORAGE *y, const long y_start, const int4 size, const long8 strides, const int axes,
                     const dims_t shape, const dims_t left_batch, const dims_t right_batch,
                     const dims_t addend_batch, const int4 after, const float alpha,
                     const float beta, const float act_alpha, const float act_beta) {
  const int m0 = get_global_id(0) * ROWS, n0 = get_global_id(1) * BLOCK;
  const long batch = get_global_id(2);
  const int rows = min(ROWS, size.s0 - m0), columns = min(BLOCK, size.s1 - n0);
  left += left_start + row_offset(batch, axes, shape, left_batch) + m0 * strides.s0;
  right += right_start + row_offset(batch, axes, shape, right_batch) + n0 * strides.s3;
  addend += addend_start + row_offset(batch, axes, shape, addend_batch) + m0 * strides.s4 +
            n0 * strides.s5;
  const long at = (batch * size.s0 + m0) * size.s1 + n0;
  residual += residual_start + at;
  y += y_start + at;

  VEC sums[ROWS][VECTORS];
  UNROLL
  for (int m = 0; m < ROWS; ++m)
    UNROLL
    for (int v = 0; v < VECTORS; ++v) sums[m][v] = (VEC)(COMPUTE)0;
  COMPUTE a[ROWS * DEPTH], b[DEPTH * BLOCK];
  for (int i = 0; i < ROWS * DEPTH; ++i) a[i] = (COMPUTE)0;
  for (int k0 = 0; k0 < size.s2; k0 += DEPTH) {
    const int depth = min(DEPTH, size.s2 - k0);
    gather(a, DEPTH, left + k0 * strides.s1, rows, depth, strides.s0, strides.s1);
#ifndef HALF_STORAGE
    if (columns == BLOCK && strides.s3 == 1) {
      __global const STORAGE *block = right + k0 * strides.s2;
      MULTIPLY(vload16(v, block + k * strides.s2))
      continue;
    }
#endif
    gather(b, BLOCK, right + k0 * strides.s2, depth, columns, strides.s2, strides.s3);
    MULTIPLY(vload16(v, b + k * BLOCK))
  }

  VEC spilled[ROWS * VECTORS];
  UNROLL
  for (int i = 0; i < ROWS * VECTORS; ++i) spilled[i] = sums[i / VECTORS][i % VECTORS];
  COMPUTE added[BLOCK];
  for (int m = 0; m < rows; ++m) {
    if (after.s0) gather(added, BLOCK, addend + m * strides.s4, 1, columns, 0, strides.s5);
    for (int v = 0; v * 16 < columns; ++v) {
      VEC sum = spilled[m * VECTORS + v];
#ifndef IS_INTEGER
      sum *= (COMPUTE)alpha;
      if (after.s0) sum += (COMPUTE)beta * vload16(v, added);
      if (after.s1) sum += load_some(residual + (long)m * size.s1 + 16 * v, columns - 16 * v);
      sum = activated(sum, after.s2, (COMPUTE)act_alpha, (COMPUTE)act_beta);
#endif
      store_some(y + (long)m * size.s1 + 16 * v, sum, columns - 16 * v);
    }
  }
}
