// What the device can do at most, for others to be compared with (peaks.py).

#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define START(c) float16 x##c = (float16)((float)get_global_id(0) + c);
#define STEP(c) x##c = x##c * a + b;
#define ADD(c) +x##c

// Independent chains of multiply-adds: 2 * 16 * 12 * rounds operations per work-item.
__kernel void multiply_add(__global float* out, const float a, const float b, const int rounds) {
  EACH(START)
  for (int i = 0; i < rounds; ++i) {
    EACH(STEP)
  }
  vstore16(EACH(ADD), get_global_id(0), out);
}

// 64 bytes read and 64 bytes written per work-item.
__kernel void copy_bytes(__global float* out, __global const float* in) {
  vstore16(vload16(get_global_id(0), in), get_global_id(0), out);
}
