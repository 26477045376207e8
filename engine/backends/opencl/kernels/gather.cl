// Reading by index. ELEMENT is an unsigned integer of the storage size, INDEX is int or long.
//
// Negative indices count from the end. An index out of range is clamped into the axis: a device
// never reads beyond a tensor (the reference raises instead). No local memory, no barrier.

inline long in_axis(long i, const long n) {
  if (i < 0) i += n;
  return clamp(i, 0L, n - 1);
}

// Gather and GatherND: y[o][j][:] = x[o * x_outer + sum_k index[o * i_outer + j][k] * step_k][:].
// A slice has `inner` contiguous elements; index tuples have `depth` entries, entry k indexing an
// axis of extents.a[k], steps.a[k] elements apart. Work-item (p, g) owns elements
// [p * piece, (p + 1) * piece) of the slices [g * block, (g + 1) * block) of `slices` = o * count.
__kernel void gather_slices(__global const ELEMENT *x, const long x_start,
                            __global const INDEX *index, const long index_start,
                            __global ELEMENT *y, const long y_start, const long slices,
                            const long count, const long inner, const long x_outer,
                            const long i_outer, const int depth, const dims_t extents,
                            const dims_t steps, const int block, const long piece) {
  const long first = (long)get_global_id(1) * block, end = min(slices, first + block);
  const long begin = (long)get_global_id(0) * piece, n = min(piece, inner - begin);
  for (long s = first; s < end; ++s) {
    const long o = s / count, j = s - o * count;
    __global const INDEX *tuple = index + index_start + (o * i_outer + j) * depth;
    long offset = x_start + o * x_outer + begin;
    for (int k = 0; k < depth; ++k) offset += in_axis(tuple[k], extents.a[k]) * steps.a[k];
    copy_run(y + y_start + s * inner + begin, x + offset, n);
  }
}

// GatherElements: y[c] = x[c with c[axis] = index[c]]; y and index are dense of `shape`. Work-item g
// owns the elements [g * block, (g + 1) * block). x_strides.a[axis] is 0: `step` applies there.
__kernel void gather_elements(__global const ELEMENT *x, const long x_start,
                              __global const INDEX *index, const long index_start,
                              __global ELEMENT *y, const long y_start, const long count,
                              const int rank, const dims_t shape, const dims_t x_strides,
                              const long extent, const long step, const int block) {
  const long first = (long)get_global_id(0) * block, end = min(count, first + block);
  for (long e = first; e < end; ++e) {
    const long at = in_axis(index[index_start + e], extent) * step;
    y[y_start + e] = x[x_start + row_offset(e, rank, shape, x_strides) + at];
  }
}

// OneHot: y (outer, depth, inner); values is [off, on]. Out-of-range indices give "off" throughout.
__kernel void one_hot(__global const INDEX *index, const long index_start,
                      __global const ELEMENT *values, const long values_start,
                      __global ELEMENT *y, const long y_start, const long count, const long depth,
                      const long inner, const int block) {
  const ELEMENT off = values[values_start], on = values[values_start + 1];
  const long first = (long)get_global_id(0) * block, end = min(count, first + block);
  for (long e = first; e < end; ++e) {
    const long row = e / inner, o = row / depth;
    long i = index[index_start + o * inner + (e - row * inner)];
    if (i < 0) i += depth;
    y[y_start + e] = i == row - o * depth ? on : off;
  }
}

// Trilu of dense (rows / height, height, width): keeps j - i >= k (upper) or j - i <= k, zeroes the rest.
__kernel void trilu(__global const ELEMENT *x, const long x_start, __global ELEMENT *y,
                    const long y_start, const long height, const long width, const long k,
                    const int upper) {
  const long row = get_global_id(0), i = row % height;
  __global const ELEMENT *in = x + x_start + row * width;
  __global ELEMENT *out = y + y_start + row * width;
  for (long j = 0; j < width; ++j)
    out[j] = (upper ? j - i >= k : j - i <= k) ? in[j] : (ELEMENT)0;
}
