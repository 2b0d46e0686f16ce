// Nearest nodes of paired clouds, and the terms of a Chamfer loss with their gradient.
//
// Called from compiled.py, which compiles this file at first use. Distances are summed feature by
// feature in the order of gconvae.neighbors.squared_distance and never fused (the compiler is told
// -ffp-contract=off), so that they have its bits, and ties go to the lowest index.
//
// Small clouds: a block of queries, one in each lane of a vector, meets every point. Large clouds:
// both sides are sorted along their widest axis, and a block walks left and right until the next
// point is farther away along that axis alone than the worst nearest point found. A rounded sum of
// squares is never below one of the rounded squares, so the walk is exact without a tolerance.

#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

namespace {

constexpr int BYTES = 64;         // of a vector; compilers split it where registers are shorter
constexpr int VECTORS = 2;        // of a block of queries, to hide the latency of a comparison
constexpr int64_t SORTED = 192;   // points of a cloud from which sorting pays
constexpr int64_t CHUNK = 8;      // points between two looks at whether the walk may end
constexpr int DIGIT = 11;         // bits that one pass of the sort looks at

template <typename Real> struct Types;
template <> struct Types<float> {
  typedef float Values __attribute__((vector_size(BYTES)));
  typedef int32_t Places __attribute__((vector_size(BYTES)));
  typedef int32_t Place;
  typedef uint32_t Key;
};
template <> struct Types<double> {
  typedef double Values __attribute__((vector_size(BYTES)));
  typedef int64_t Places __attribute__((vector_size(BYTES)));
  typedef int64_t Place;
  typedef uint64_t Key;
};

// One side of all clouds. Rows of a cloud lie together; `starts` (clouds + 1) says where, or every
// cloud has `size` rows.
template <typename Real> struct Side {
  const Real *values;
  const uint8_t *mask;  // 1 = a real node; null = all
  const int64_t *starts;
  int64_t size;
  int64_t stride;  // from a row to the next, in values

  int64_t begin(int64_t cloud) const { return starts ? starts[cloud] : cloud * size; }
  int64_t rows(int64_t cloud) const { return starts ? starts[cloud + 1] - starts[cloud] : size; }
};

// The real nodes of one side of one cloud, features apart, and where each was.
template <typename Real> struct Nodes {
  std::vector<Real> values;  // (features, padded count)
  std::vector<typename Types<Real>::Place> places;
  int64_t count = 0, padded = 0;

  const Real *feature(int f) const { return values.data() + f * padded; }
  Real *feature(int f) { return values.data() + f * padded; }
};

template <typename Real> constexpr int64_t lanes() { return BYTES / sizeof(Real); }

template <typename Real>
void take(const Side<Real> &side, int64_t cloud, int features, Nodes<Real> &nodes) {
  const int64_t rows = side.rows(cloud), first = side.begin(cloud);
  const int64_t block = VECTORS * lanes<Real>();
  nodes.padded = (rows + block - 1) / block * block;
  nodes.values.resize(features * nodes.padded);
  nodes.places.resize(nodes.padded);
  nodes.count = 0;
  for (int64_t i = 0; i < rows; i++) {
    if (side.mask && !side.mask[first + i]) continue;
    const Real *row = side.values + (first + i) * side.stride;
    for (int f = 0; f < features; f++) nodes.feature(f)[nodes.count] = row[f];
    nodes.places[nodes.count++] = i;
  }
  for (int64_t i = nodes.count; i < nodes.padded && nodes.count; i++) {  // fills the last block
    for (int f = 0; f < features; f++) nodes.feature(f)[i] = nodes.feature(f)[nodes.count - 1];
    nodes.places[i] = nodes.places[nodes.count - 1];
  }
}

// A block of queries and the best that each has met. FEATURES 0 = as many as told.
template <typename Real, int FEATURES> struct Block {
  using Values = typename Types<Real>::Values;
  using Places = typename Types<Real>::Places;
  using Place = typename Types<Real>::Place;
  const Nodes<Real> &queries;
  const int64_t first;
  const int features;
  Values query[FEATURES ? FEATURES : 1][VECTORS], best[VECTORS];
  Places place[VECTORS];

  Block(const Nodes<Real> &queries, int64_t first, int features, Place lowest)
      : queries(queries), first(first), features(FEATURES ? FEATURES : features) {
    for (int f = 0; f < FEATURES; f++)
      std::memcpy(query[f], queries.feature(f) + first, sizeof query[f]);
    for (int v = 0; v < VECTORS; v++) {
      best[v] = Values{} + std::numeric_limits<Real>::infinity();
      place[v] = Places{} + lowest;
    }
  }

  // Starts from the places that `index` holds, where it holds one (not below 0).
  void begin_at(const int64_t *index, const Real *rows, int64_t stride) {
    for (int64_t l = 0; l < VECTORS * lanes<Real>(); l++) {
      const int64_t known = index[queries.places[first + l]];
      if (known < 0) continue;
      Real distance = 0;
      for (int f = 0; f < features; f++) {
        const Real gap = queries.feature(f)[first + l] - rows[known * stride + f];
        distance = f ? distance + gap * gap : gap * gap;
      }
      best[l / lanes<Real>()][l % lanes<Real>()] = distance;
      place[l / lanes<Real>()][l % lanes<Real>()] = known;
    }
  }

  Values asked(int f, int v) const {
    if (FEATURES) return query[FEATURES ? f : 0][v];
    Values values;
    std::memcpy(&values, queries.feature(f) + first + v * lanes<Real>(), sizeof values);
    return values;
  }

  // Points in any order (SHUFFLED), or in the order of their places.
  template <bool SHUFFLED> void meet(const Nodes<Real> &points, int64_t from, int64_t to) {
    for (int64_t j = from; j < to; j++) {
      const Place where = points.places[j];
      for (int v = 0; v < VECTORS; v++) {
        Values gap = asked(0, v) - points.feature(0)[j];
        Values distance = gap * gap;
        for (int f = 1; f < features; f++) {
          gap = asked(f, v) - points.feature(f)[j];
          distance += gap * gap;
        }
        Places closer = distance < best[v];
        if (SHUFFLED) closer |= (distance == best[v]) & (where < place[v]);
        best[v] = closer ? distance : best[v];
        place[v] = closer ? Places{} + where : place[v];
      }
    }
  }

  Real worst() const {
    Values larger = best[0];
    for (int v = 1; v < VECTORS; v++) larger = best[v] > larger ? best[v] : larger;
    Real found = larger[0];
    for (int l = 1; l < lanes<Real>(); l++) found = larger[l] > found ? larger[l] : found;
    return found;
  }

  void write(int64_t *index) const {
    for (int64_t i = first; i < queries.count && i < first + VECTORS * lanes<Real>(); i++) {
      const int64_t at = i - first;
      index[queries.places[i]] = place[at / lanes<Real>()][at % lanes<Real>()];
    }
  }
};

// What one thread does: some clouds, and of each every `parts`-th block of queries.
struct Share {
  int64_t first, last, part, parts;
};

// Rows of the points of a cloud, where the search is to start from known places; else null.
template <typename Real> struct Known {
  const Real *rows = nullptr;
  int64_t stride = 0;
};

template <typename Real, int FEATURES>
void search_all(const Nodes<Real> &queries, const Nodes<Real> &points, int features,
                const Share &share, const Known<Real> &known, int64_t *index) {
  const int64_t size = VECTORS * lanes<Real>();
  for (int64_t first = share.part * size; first < queries.count; first += share.parts * size) {
    Block<Real, FEATURES> block(queries, first, features, points.places[0]);
    if (known.rows) block.begin_at(index, known.rows, known.stride);
    known.rows ? block.template meet<true>(points, 0, points.count)
               : block.template meet<false>(points, 0, points.count);
    block.write(index);
  }
}

// Both sides sorted along `axis`.
template <typename Real, int FEATURES>
void search_sorted(const Nodes<Real> &queries, const Nodes<Real> &points, int features, int axis,
                   int64_t lowest, const Share &share, const Known<Real> &known, int64_t *index) {
  const Real *along = points.feature(axis), *asked = queries.feature(axis);
  const int64_t size = VECTORS * lanes<Real>();
  int64_t start = 0;
  for (int64_t first = share.part * size; first < queries.count; first += share.parts * size) {
    const int64_t last = first + size < queries.count ? first + size - 1 : queries.count - 1;
    const Real low = asked[first], high = asked[last], middle = asked[(first + last) / 2];
    while (start < points.count && along[start] < middle) start++;
    Block<Real, FEATURES> block(queries, first, features, lowest);
    if (known.rows) block.begin_at(index, known.rows, known.stride);
    int64_t left = start, right = start;  // met so far: [left, right)
    bool goes_left = left > 0, goes_right = right < points.count;
    while (goes_left || goes_right) {
      if (goes_right) {
        const int64_t to = right + CHUNK < points.count ? right + CHUNK : points.count;
        block.template meet<true>(points, right, to);
        right = to;
      }
      if (goes_left) {
        const int64_t from = left > CHUNK ? left - CHUNK : 0;
        block.template meet<true>(points, from, left);
        left = from;
      }
      const Real worst = block.worst();
      if (goes_right) {
        const Real gap = right < points.count ? along[right] - high : 0;
        goes_right = right < points.count && !(gap > 0 && gap * gap > worst);
      }
      if (goes_left) {
        const Real gap = left > 0 ? low - along[left - 1] : 0;
        goes_left = left > 0 && !(gap > 0 && gap * gap > worst);
      }
    }
    block.write(index);
  }
}

// Numbers as unsigned integers in the same order, -0 as 0.
template <typename Real> typename Types<Real>::Key sortable(Real value) {
  using Key = typename Types<Real>::Key;
  Key bits;
  value += 0;
  std::memcpy(&bits, &value, sizeof bits);
  const Key sign = Key(1) << (8 * sizeof bits - 1);
  return bits & sign ? ~bits : bits | sign;
}

// Scratch of the sort, kept from cloud to cloud.
template <typename Real> struct Sorter {
  std::vector<std::pair<typename Types<Real>::Key, int64_t>> items, other;
  Nodes<Real> before;

  void sort(Nodes<Real> &nodes, int features, int axis) {
    items.resize(nodes.count);
    other.resize(nodes.count);
    for (int64_t i = 0; i < nodes.count; i++) items[i] = {sortable(nodes.feature(axis)[i]), i};
    for (unsigned shift = 0; shift < 8 * sizeof(Real); shift += DIGIT) pass(shift);
    std::swap(before, nodes);
    nodes.count = before.count;
    nodes.padded = before.padded;
    nodes.values.resize(before.values.size());
    nodes.places.resize(before.places.size());
    for (int64_t i = 0; i < nodes.padded; i++) {
      const int64_t from = items[i < nodes.count ? i : nodes.count - 1].second;
      for (int f = 0; f < features; f++) nodes.feature(f)[i] = before.feature(f)[from];
      nodes.places[i] = before.places[from];
    }
  }

  void pass(unsigned shift) {
    int64_t ends[1 << DIGIT] = {0};
    const auto digit = [&](const auto &item) {
      return (item.first >> shift) & ((1 << DIGIT) - 1);
    };
    for (const auto &item : items) ends[digit(item)]++;
    if (ends[digit(items[0])] == int64_t(items.size())) return;
    int64_t sum = 0;
    for (int64_t &end : ends) sum += std::exchange(end, sum);
    for (const auto &item : items) other[ends[digit(item)]++] = item;
    std::swap(items, other);
  }
};

template <typename Real> int widest(const Nodes<Real> &nodes, int features) {
  int axis = 0;
  Real widest = -1;
  for (int f = 0; f < features; f++) {
    Real low = nodes.feature(f)[0], high = low;
    for (int64_t i = 1; i < nodes.count; i++) {
      const Real value = nodes.feature(f)[i];
      low = value < low ? value : low;
      high = value > high ? value : high;
    }
    if (high - low > widest) widest = high - low, axis = f;
  }
  return axis;
}

template <typename Real, int FEATURES>
void search(const Side<Real> &a, const Side<Real> &b, int features, int64_t *index_a,
            int64_t *index_b, bool known, const Share &share) {
  Nodes<Real> nodes_a, nodes_b;
  Sorter<Real> sorter;
  for (int64_t cloud = share.first; cloud < share.last; cloud++) {
    take(a, cloud, features, nodes_a);
    take(b, cloud, features, nodes_b);
    int64_t *to_b = index_a + a.begin(cloud), *to_a = index_b ? index_b + b.begin(cloud) : nullptr;
    if (!nodes_a.count || !nodes_b.count) continue;
    Known<Real> known_a, known_b;
    if (known) {
      known_a = {b.values + b.begin(cloud) * b.stride, b.stride};
      known_b = {a.values + a.begin(cloud) * a.stride, a.stride};
    }
    if (nodes_b.count < SORTED || nodes_a.count < SORTED) {
      search_all<Real, FEATURES>(nodes_a, nodes_b, features, share, known_a, to_b);
      if (to_a) search_all<Real, FEATURES>(nodes_b, nodes_a, features, share, known_b, to_a);
      continue;
    }
    const int axis = widest(nodes_b, features);
    const int64_t lowest_a = nodes_a.places[0], lowest_b = nodes_b.places[0];
    sorter.sort(nodes_a, features, axis);
    sorter.sort(nodes_b, features, axis);
    search_sorted<Real, FEATURES>(nodes_a, nodes_b, features, axis, lowest_b, share, known_a, to_b);
    if (to_a)
      search_sorted<Real, FEATURES>(nodes_b, nodes_a, features, axis, lowest_a, share, known_b, to_a);
  }
}

template <typename Real>
void nearest(const Side<Real> &a, const Side<Real> &b, int64_t features, int64_t *index_a,
             int64_t *index_b, bool known, const Share &share) {
  const auto chosen = features == 2   ? search<Real, 2>
                      : features == 3 ? search<Real, 3>
                      : features == 4 ? search<Real, 4>
                                      : search<Real, 0>;
  chosen(a, b, features, index_a, index_b, known, share);
}

// Squared distance of each node to its partner: |searched features|^2 + weight |the rest|^2.
template <typename Real> struct Terms {
  int64_t features, searched;
  Real weight;
  int64_t first, last;  // clouds

  void forward(const Real *a, int64_t size_a, const Real *b, int64_t size_b,
               const int64_t *index, Real *out) const {
    for (int64_t cloud = first; cloud < last; cloud++)
      for (int64_t row = cloud * size_a; row < (cloud + 1) * size_a; row++) {
        const Real *p = a + row * features, *q = b + (cloud * size_b + index[row]) * features;
        Real near = 0, rest = 0;
        for (int64_t f = 0; f < searched; f++) near += (p[f] - q[f]) * (p[f] - q[f]);
        for (int64_t f = searched; f < features; f++) rest += (p[f] - q[f]) * (p[f] - q[f]);
        out[row] = searched < features ? near + weight * rest : near;
      }
  }

  // Adds to grad_a and grad_b, either of which may be null.
  void backward(const Real *a, int64_t size_a, const Real *b, int64_t size_b,
                const int64_t *index, const Real *grad, Real *grad_a, Real *grad_b) const {
    for (int64_t cloud = first; cloud < last; cloud++)
      for (int64_t row = cloud * size_a; row < (cloud + 1) * size_a; row++) {
        const int64_t partner = cloud * size_b + index[row];
        for (int64_t f = 0; f < features; f++) {
          const Real slope = 2 * grad[row] * (f < searched ? 1 : weight);
          const Real change = slope * (a[row * features + f] - b[partner * features + f]);
          if (grad_a) grad_a[row * features + f] += change;
          if (grad_b) grad_b[partner * features + f] -= change;
        }
      }
  }
};

}  // namespace

#define ENTRIES(Real, suffix)                                                                     \
  extern "C" void nearest_##suffix(                                                               \
      const Real *a, const uint8_t *mask_a, const int64_t *starts_a, int64_t size_a,              \
      int64_t stride_a, const Real *b, const uint8_t *mask_b, const int64_t *starts_b,            \
      int64_t size_b, int64_t stride_b, int64_t features, int64_t *index_a, int64_t *index_b,     \
      int64_t known, int64_t first, int64_t last, int64_t part, int64_t parts) {                  \
    nearest<Real>({a, mask_a, starts_a, size_a, stride_a},                                        \
                  {b, mask_b, starts_b, size_b, stride_b}, features, index_a, index_b, known,     \
                  {first, last, part, parts});                                                    \
  }                                                                                               \
  extern "C" void terms_##suffix(const Real *a, int64_t size_a, const Real *b, int64_t size_b,    \
                                 int64_t features, int64_t searched, double weight,               \
                                 const int64_t *index_a, const int64_t *index_b, Real *terms_a,   \
                                 Real *terms_b, int64_t first, int64_t last) {                    \
    const Terms<Real> sides{features, searched, Real(weight), first, last};                       \
    sides.forward(a, size_a, b, size_b, index_a, terms_a);                                        \
    sides.forward(b, size_b, a, size_a, index_b, terms_b);                                        \
  }                                                                                               \
  extern "C" void terms_backward_##suffix(                                                        \
      const Real *a, int64_t size_a, const Real *b, int64_t size_b, int64_t features,             \
      int64_t searched, double weight, const int64_t *index_a, const int64_t *index_b,            \
      const Real *grad_terms_a, const Real *grad_terms_b, Real *grad_a, Real *grad_b,             \
      int64_t first, int64_t last) {                                                              \
    const Terms<Real> sides{features, searched, Real(weight), first, last};                       \
    sides.backward(a, size_a, b, size_b, index_a, grad_terms_a, grad_a, grad_b);                  \
    sides.backward(b, size_b, a, size_a, index_b, grad_terms_b, grad_b, grad_a);                  \
  }

ENTRIES(float, float32)
ENTRIES(double, float64)
