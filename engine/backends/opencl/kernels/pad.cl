// Pad: y = x surrounded by a constant, its reflection, its edge or its repetition.
//
// ELEMENT is an unsigned integer of the storage size. y is dense over `rank` axes of extents `shape`;
// on axis d the elements [before, before + extent) of y are x's own, x_strides apart.
// mode: 0 constant (value[0], or zero bits without has_value), 1 reflect, 2 edge, 3 wrap.
// One work-item owns `block` rows of the last axis. No local memory, no barrier.

// Where in [0, n) position i of the padded axis comes from; -1: the constant.
inline long source_index(long i, const long n, const int mode) {
  if (i >= 0 && i < n) return i;
  if (mode == 0) return -1;
  if (mode == 2) return i < 0 ? 0 : n - 1;
  const long period = mode == 3 ? n : max(2 * (n - 1), 1L);
  i %= period;
  if (i < 0) i += period;
  return i < n ? i : period - i;
}

__kernel void pad(__global const ELEMENT *x, const long x_start, __global const ELEMENT *value,
                  const long value_start, __global ELEMENT *y, const long y_start, const int rank,
                  const dims_t shape, const dims_t extent, const dims_t before,
                  const dims_t x_strides, const long rows, const int block, const int mode,
                  const int has_value) {
  const int last = rank - 1;
  const long m = shape.a[last], n = extent.a[last], head = before.a[last];
  const long step = x_strides.a[last];
  const ELEMENT fill = has_value ? value[value_start] : (ELEMENT)0;
  const long first = (long)get_global_id(0) * block, end = min(rows, first + block);
  for (long row = first; row < end; ++row) {
    long offset = x_start, rest = row;
    int is_inside = 1;
    for (int d = last - 1; d >= 0; --d) {
      const long q = rest / shape.a[d];
      const long i = source_index(rest - q * shape.a[d] - before.a[d], extent.a[d], mode);
      is_inside &= i >= 0;
      offset += i * x_strides.a[d];
      rest = q;
    }
    __global ELEMENT *out = y + y_start + row * m;
    if (!is_inside) {
      fill_run(out, fill, m);
      continue;
    }
    __global const ELEMENT *in = x + offset;
    for (long i = 0; i < head; ++i) {
      const long s = source_index(i - head, n, mode);
      out[i] = s < 0 ? fill : in[s * step];
    }
    if (step == 1)
      copy_run(out + head, in, n);
    else
      for (long i = 0; i < n; ++i) out[head + i] = in[i * step];
    for (long i = head + n; i < m; ++i) {
      const long s = source_index(i - head, n, mode);
      out[i] = s < 0 ? fill : in[s * step];
    }
  }
}
