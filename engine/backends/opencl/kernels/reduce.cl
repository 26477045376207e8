// y[o] = finish(merge over the reduced elements of x of o's slice).
//
// The host collapses x into kept and reduced axes. Two forms, named by what varies fastest in x:
//   NAME          the innermost axis is reduced (contiguous): work-item (g0, g1) owns the outputs
//                 [g0 * block, (g0 + 1) * block) and part g1 of their elements;
//   NAME_columns  the innermost axis is kept: work-item (g0, g1, g2) owns the columns
//                 [g0 * COLUMNS, (g0 + 1) * COLUMNS) of outer row g1, and part g2 of the rows.
// Parts: the `rows` x `inner` reduced elements are cut into pieces of part_rows x part_inner. With
// split, piece k of output o is left unfinished in parts[o * pieces + k], and NAME_merge adds the
// pieces in ascending order; otherwise there is one piece, and it is finished.
// Order of a piece: row by row; within a row sixteen interleaved accumulators (element i goes to
// i % 16), the last inner % 16 elements to a seventeenth; then halves onto halves.
// aux: the slice's maximum, for LogSumExp; count: elements per output. No barrier, no local memory.

#define COMPUTE8 CAT(COMPUTE, 8)
#define COMPUTE4 CAT(COMPUTE, 4)
#define COMPUTE2 CAT(COMPUTE, 2)
#define COLUMNS 256
#define ZERO ((COMPUTE)0)
#define ONE ((COMPUTE)1)

// INIT: the value of no elements. STEP(a, v): takes in an element; MERGE(a, b): joins two
// accumulators; both work on scalars and vectors. FINISH(a): the result. SHIFT(o): read by STEP.
#define REDUCE(NAME, INIT, STEP, MERGE, FINISH, SHIFT)                                           \
  inline COMPUTE NAME##_row(__global const STORAGE *x, const int rank, const dims_t shape,       \
                            const dims_t strides, const long r0, const long r1, const long n,    \
                            const COMPUTE shift) {                                               \
    COMPUTE16 wide = (COMPUTE16)(INIT);                                                          \
    COMPUTE acc = INIT;                                                                          \
    for (long r = r0; r < r1; ++r) {                                                             \
      __global const STORAGE *p = x + row_offset(r, rank, shape, strides);                       \
      long i = 0;                                                                                \
      for (; i + 16 <= n; i += 16) {                                                             \
        const COMPUTE16 v = LOAD16(p + i);                                                       \
        wide = STEP(wide, v);                                                                    \
      }                                                                                          \
      for (; i < n; ++i) {                                                                       \
        const COMPUTE v = LOAD(p, i);                                                            \
        acc = STEP(acc, v);                                                                      \
      }                                                                                          \
    }                                                                                            \
    const COMPUTE8 a8 = MERGE(wide.lo, wide.hi);                                                 \
    const COMPUTE4 a4 = MERGE(a8.lo, a8.hi);                                                     \
    const COMPUTE2 a2 = MERGE(a4.lo, a4.hi);                                                     \
    const COMPUTE a1 = MERGE(a2.x, a2.y);                                                        \
    return MERGE(a1, acc);                                                                       \
  }                                                                                              \
  __kernel void NAME(__global const STORAGE *x, const long x_start, __global const COMPUTE *aux, \
                     const long aux_start, __global STORAGE *y, const long y_start,              \
                     __global COMPUTE *parts, const long parts_start, const int kept_rank,       \
                     const dims_t kept_shape, const dims_t kept_strides, const int rank,         \
                     const dims_t shape, const dims_t strides, const long outputs,               \
                     const long rows, const long inner, const long block, const long part_rows,  \
                     const long part_inner, const long count, const int split) {                 \
    const long slices = max(1L, (inner + part_inner - 1) / part_inner), piece = get_global_id(1); \
    const long r0 = piece / slices * part_rows, i0 = piece % slices * part_inner;                \
    const long r1 = min(rows, r0 + part_rows), n = min(part_inner, inner - i0);                  \
    const long first = get_global_id(0) * block, end = min(outputs, first + block);              \
    aux += aux_start;                                                                            \
    for (long o = first; o < end; ++o) {                                                         \
      const COMPUTE shift = SHIFT(o);                                                            \
      const long at = x_start + row_offset(o, kept_rank, kept_shape, kept_strides) + i0;         \
      const COMPUTE acc = NAME##_row(x + at, rank, shape, strides, r0, r1, n, shift);            \
      if (split)                                                                                 \
        parts[parts_start + o * get_global_size(1) + piece] = acc;                               \
      else                                                                                       \
        STORE(y, y_start + o, FINISH(acc));                                                      \
    }                                                                                            \
  }                                                                                              \
  __kernel void NAME##_columns(                                                                  \
      __global const STORAGE *x, const long x_start, __global const COMPUTE *aux,                \
      const long aux_start, __global STORAGE *y, const long y_start, __global COMPUTE *parts,    \
      const long parts_start, const int kept_rank, const dims_t kept_shape,                      \
      const dims_t kept_strides, const int rank, const dims_t shape, const dims_t strides,       \
      const long columns, const long rows, const long part_rows, const long count,               \
      const int split) {                                                                         \
    const long c0 = get_global_id(0) * COLUMNS, g = get_global_id(1), piece = get_global_id(2);  \
    const int w = (int)min((long)COLUMNS, columns - c0);                                         \
    const int wide = SHIFT##_IS_ZERO ? w & ~15 : 0;                                              \
    const long r0 = piece * part_rows, r1 = min(rows, r0 + part_rows);                           \
    const long out = g * columns + c0;                                                           \
    COMPUTE accs[COLUMNS];                                                                       \
    aux += aux_start;                                                                            \
    for (int j = 0; j < w; ++j) accs[j] = INIT;                                                  \
    x += x_start + row_offset(g, kept_rank, kept_shape, kept_strides) + c0;                      \
    for (long r = r0; r < r1; ++r) {                                                             \
      __global const STORAGE *p = x + row_offset(r, rank, shape, strides);                       \
      for (int j = 0; j < wide; j += 16) {                                                       \
        const COMPUTE shift = ZERO;                                                              \
        const COMPUTE16 v = LOAD16(p + j), acc = vload16(0, accs + j);                           \
        vstore16(STEP(acc, v), 0, accs + j);                                                     \
      }                                                                                          \
      for (int j = wide; j < w; ++j) {                                                           \
        const COMPUTE v = LOAD(p, j), shift = SHIFT(out + j), acc = accs[j];                     \
        accs[j] = STEP(acc, v);                                                                  \
      }                                                                                          \
    }                                                                                            \
    for (int j = 0; j < w; ++j) {                                                                \
      const COMPUTE acc = accs[j], shift = SHIFT(out + j);                                       \
      if (split)                                                                                 \
        parts[parts_start + (out + j) * get_global_size(2) + piece] = acc;                       \
      else                                                                                       \
        STORE(y, y_start + out + j, FINISH(acc));                                                \
    }                                                                                            \
  }                                                                                              \
  __kernel void NAME##_merge(__global const COMPUTE *parts, const long parts_start,              \
                             __global const COMPUTE *aux, const long aux_start,                  \
                             __global STORAGE *y, const long y_start, const long pieces,         \
                             const long count) {                                                 \
    const long o = get_global_id(0);                                                             \
    aux += aux_start;                                                                            \
    const COMPUTE shift = SHIFT(o);                                                              \
    COMPUTE acc = INIT;                                                                          \
    for (long k = 0; k < pieces; ++k) acc = MERGE(acc, parts[parts_start + o * pieces + k]);     \
    STORE(y, y_start + o, FINISH(acc));                                                          \
  }

#define NO_SHIFT(o) ZERO
#define NO_SHIFT_IS_ZERO 1
#define PLUS(a, v) ((a) + (v))
#define TIMES(a, v) ((a) * (v))
#define PLUS_SQUARE(a, v) ((a) + (v) * (v))
#define SAME(a) (a)

REDUCE(ReduceSum, ZERO, PLUS, PLUS, SAME, NO_SHIFT)
REDUCE(ReduceProd, ONE, TIMES, TIMES, SAME, NO_SHIFT)
REDUCE(ReduceSumSquare, ZERO, PLUS_SQUARE, PLUS, SAME, NO_SHIFT)

#ifdef IS_INTEGER
// LOWEST and HIGHEST come from the host.
#define MAGNITUDE(a, v) ((a) + ((v) < ZERO ? -(v) : (v)))
#define MEAN(a) (count ? (COMPUTE)((a) / (COMPUTE)count) : ZERO)
#define LARGER(a, v) max(a, v)
#define SMALLER(a, v) min(a, v)
#else
#define LOWEST (-(COMPUTE)INFINITY)
#define HIGHEST ((COMPUTE)INFINITY)
#define MAGNITUDE(a, v) ((a) + fabs(v))
#define MEAN(a) ((a) / (COMPUTE)count)
// NaN stays: it is taken when it comes, and no comparison with it succeeds afterwards.
#define LARGER(a, v) ((((v) > (a)) | isnan(v)) ? (v) : (a))
#define SMALLER(a, v) ((((v) < (a)) | isnan(v)) ? (v) : (a))
#endif
REDUCE(ReduceL1, ZERO, MAGNITUDE, PLUS, SAME, NO_SHIFT)
REDUCE(ReduceMean, ZERO, PLUS, PLUS, MEAN, NO_SHIFT)
REDUCE(ReduceMax, LOWEST, LARGER, LARGER, SAME, NO_SHIFT)
REDUCE(ReduceMin, HIGHEST, SMALLER, SMALLER, SAME, NO_SHIFT)

#ifndef IS_INTEGER
#define MAXIMUM(o) (isfinite(aux[o]) ? aux[o] : ZERO)
#define MAXIMUM_IS_ZERO 0
#define PLUS_EXP(a, v) ((a) + exp((v) - shift))
#define SHIFTED_LOG(a) (shift + log(a))
REDUCE(ReduceL2, ZERO, PLUS_SQUARE, PLUS, sqrt, NO_SHIFT)
REDUCE(ReduceLogSum, ZERO, PLUS, PLUS, log, NO_SHIFT)
REDUCE(ReduceLogSumExp, ZERO, PLUS_EXP, PLUS, SHIFTED_LOG, MAXIMUM)
#endif
