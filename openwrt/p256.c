/* P-256 without ring's table of multiples of the generator: the generator is multiplied as any other point, which takes a fraction of a
 * millisecond more. openwrt/cross says how ring's names begin, and has the linker take these functions instead of ring's two. */
#include <stdint.h>

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

typedef uint64_t limbs[4];

void JOIN(RING, p256_point_mul)(limbs product[3], const limbs scalar, const limbs x, const limbs y);

/* The generator's coordinates (FIPS 186-5) in Montgomery's form, as ring's src/ec/suite_b/ops/p256.rs has them for its tests. */
static const limbs x = {0x79e730d418a9143c, 0x75ba95fc5fedb601, 0x79fb732b77622510, 0x18905f76a53755c6};
static const limbs y = {0xddf25357ce95560a, 0x8b4ab8e4ba19e45c, 0xd2e88688dd21f325, 0x8571ff1825885d85};

void JOIN(JOIN(__wrap_, RING), p256_point_mul_base)(limbs product[3], const limbs scalar) {
  JOIN(RING, p256_point_mul)(product, scalar, x, y);
}

/* The scalar of this one is no secret: it may take as long as the other. */
void JOIN(JOIN(__wrap_, RING), p256_point_mul_base_vartime)(limbs product[3], const limbs scalar) {
  JOIN(RING, p256_point_mul)(product, scalar, x, y);
}
