// The loop that simulators of approximate multipliers start from: one table row held for each (m, k), one look-up a
// multiply-accumulate. The baseline of benchmarks/multiplier.py.
#include <stdint.h>

void table_matmul(const uint8_t* a, const uint8_t* b, const int32_t* table, int32_t* out, int64_t m, int64_t k,
                  int64_t n) {
    for (int64_t i = 0; i < m; ++i) {
        int32_t* sums = out + i * n;
        for (int64_t j = 0; j < n; ++j) sums[j] = 0;
        for (int64_t p = 0; p < k; ++p) {
            const int32_t* row = table + 256 * a[i * k + p];
            for (int64_t j = 0; j < n; ++j) sums[j] += row[b[p * n + j]];
        }
    }
}
