// y_i = (OUT) x_i. x and y have the same layout, so both are flat.
//
// IN, OUT: types in memory; IN_HALF, OUT_HALF: half, read through vload_half and written through
// vstore_half_rte. IN_BFLOAT16, OUT_BFLOAT16: the upper half of a float; MAY_LOSE: from numbers that
// float may not hold, which are rounded to odd on their way there, so that they are rounded once
// (S. Boldo, G. Melquiond, Emulation of a FMA and correctly rounded sums, 2008). TO_BOOL: y is 0 or 1. TRUNCATES: from a float to an integer OUT, towards 0, and
// the nearest end beyond its range. NaN is 0: PoCL 3.0's convert_..._sat makes it the smallest number.
// IN_FLOAT8, OUT_FLOAT8: a sign, an exponent with IN_BIAS, IN_MANTISSA bits of a fraction; IN_MOST
// is the code of the largest number, IN_BEYOND that of what is larger, infinite or no number, IN_NAN
// that of what is no number: 0x80 where nothing else is negative and 0. SATURATES: what is larger than the largest number is that.
// Work-item g owns the elements [g * CHUNK, min(count, (g + 1) * CHUNK)).

#define CHUNK 1024

#ifdef BIT_CAST
// y_i has the bits of x_i, both of the size of ELEMENT. IN_HALF, OUT_HALF: a float that is stored as
// half, of whose float the bits are.
#ifdef IN_HALF
#define IN half
#define BITS(p, i) as_uint(vload_half((size_t)(i), (p)))
#else
#define IN ELEMENT
#define BITS(p, i) ((p)[(i)])
#endif
#ifdef OUT_HALF
#define OUT half
#define PUT(p, i, v) vstore_half_rte(as_float(v), (size_t)(i), (p))
#else
#define OUT ELEMENT
#define PUT(p, i, v) ((p)[(i)] = (v))
#endif

__kernel void BitCast(__global const IN *x, const long x_start, __global OUT *y,
                      const long y_start, const long count) {
  const long first = (long)get_global_id(0) * CHUNK;
  const int n = (int)min((long)CHUNK, count - first);
  x += x_start + first;
  y += y_start + first;
  for (int i = 0; i < n; ++i) PUT(y, i, BITS(x, i));
}
#else
#ifdef IN_HALF
#define READ(p, i) vload_half((size_t)(i), (p))
#elif defined(IN_BFLOAT16)
#define READ(p, i) as_float((uint)(p)[(i)] << 16)
#elif defined(IN_FLOAT8)
float from_float8(const uint code) {
  const uint size = code & 0x7f;
  const float below = (float)size * as_float((128 - IN_BIAS - IN_MANTISSA) << 23);
  const float above = as_float((size << (23 - IN_MANTISSA)) + ((127 - IN_BIAS) << 23));
  float y = size >> IN_MANTISSA ? above : below;
  y = size > IN_MOST ? (IN_BEYOND != IN_NAN && size == IN_BEYOND ? INFINITY : NAN) : y;
  y = code & 0x80 ? -y : y;
  return IN_NAN == 0x80 && code == 0x80 ? NAN : y;
}
#define READ(p, i) from_float8((p)[(i)])
#else
#define READ(p, i) ((p)[(i)])
#endif

#if defined(OUT_BFLOAT16) || defined(OUT_FLOAT8)
#ifdef MAY_LOSE
float to_float(const IN x) {
  const float near = convert_float_rtz(x);
  return (IN)near == x ? near : as_float(as_uint(near) | 1);
}
#else
#define to_float(x) ((float)(x))
#endif
#endif

#ifdef OUT_FLOAT8
uchar to_float8(const float x) {  // to nearest, ties to even
  const uint size = as_uint(x) & 0x7fffffff, sign = as_uint(x) >> 24 & 0x80;
  const uint half_way = (1 << (22 - OUT_MANTISSA)) - 1 + (size >> (23 - OUT_MANTISSA) & 1);
  const uint above = ((size + half_way) >> (23 - OUT_MANTISSA)) - ((127 - OUT_BIAS) << OUT_MANTISSA);
  const float scaled = as_float(size) * as_float((126 + OUT_BIAS + OUT_MANTISSA) << 23);
  const uint below = convert_uint_rte(min(scaled, 256.0f));
  uint y = size >= (uint)(128 - OUT_BIAS) << 23 ? above : below;
#ifdef SATURATES
  y = min(y, (uint)OUT_MOST);
#else
  y = y > OUT_MOST ? OUT_BEYOND : y;
#endif
  y = size > 0x7f800000 ? OUT_NAN : y;
  return (uchar)(OUT_NAN == 0x80 && y == 0 ? y : y | sign);
}
#define WRITE(p, i, v) ((p)[(i)] = to_float8(to_float(v)))
#elif defined(OUT_BFLOAT16)
ushort to_bfloat16(const float x) {  // to nearest, ties to even; the quiet bit stays of a NaN
  const uint bits = as_uint(x);
  return (ushort)(isnan(x) ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
#define WRITE(p, i, v) ((p)[(i)] = to_bfloat16(to_float(v)))
#elif defined(OUT_HALF) && defined(FROM_DOUBLE)
#define WRITE(p, i, v) vstore_half_rte((double)(v), (size_t)(i), (p))
#elif defined(OUT_HALF)
#define WRITE(p, i, v) vstore_half_rte((float)(v), (size_t)(i), (p))
#elif defined(TO_BOOL)
#define WRITE(p, i, v) ((p)[(i)] = (v) != 0 ? 1 : 0)
#elif defined(TRUNCATES)
#define WRITE(p, i, v) \
  ((p)[(i)] = isnan(v) ? (OUT)0 : CAT(CAT(convert_, OUT), _sat)(v))
#else
#define WRITE(p, i, v) ((p)[(i)] = (OUT)(v))
#endif

__kernel void Cast(__global const IN *x, const long x_start, __global OUT *y, const long y_start,
                   const long count) {
  const long first = (long)get_global_id(0) * CHUNK;
  const int n = (int)min((long)CHUNK, count - first);
  x += x_start + first;
  y += y_start + first;
  for (int i = 0; i < n; ++i) WRITE(y, i, READ(x, i));
}
#endif
