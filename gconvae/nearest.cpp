// Nearest nodes of paired clouds, and the terms of a Chamfer loss with their gradient.
//
// Called from compiled.py, which compiles this file at first use. Distances are summed feature by
// feature in the order of gconvae.neighbors.squared_distance and never fused (the compiler is told
// -ffp-contract=off), so that they have its bits, and ties go to the lowest index.
//
// Small clouds: a block of queries, one in each lane of a vector, meets every point. Large clouds:
// both sides are halved across their widest axis again and again, down to leaves of one block, and a
// block of queries goes down the tree of points, nearest box first, leaving out boxes that are
// farther away than the worst nearest point found. Rounding keeps the order of numbers, so a rounded
// sum of squares is never below that of smaller gaps: no tolerance is needed for exact results.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

namespace {

// Of a vector: what one register holds, since compilers take longer vectors apart lane by lane.
#if defined(__AVX512F__)
constexpr int BYTES = 64;
#elif defined(__AVX__)
constexpr int BYTES = 32;
#else
constexpr int BYTES = 16;
#endif
constexpr int VECTORS = 2;        // of a block of queries, to hide the latency of a comparison
constexpr int64_t HALVED = 768;   // points of a cloud from which a tree pays

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

  // Whether a point between these ends, lowest and highest of each feature, may be as near to a
  // query as the best that it has met.
  bool may_meet(const Real *ends) const {
    uint64_t any = 0;
    for (int v = 0; v < VECTORS; v++) {
      Values sum{};
      for (int f = 0; f < features; f++) {
        const Values below = ends[2 * f] - asked(f, v), above = asked(f, v) - ends[2 * f + 1];
        Values gap = above > 0 ? above : Values{};
        gap = below > 0 ? below : gap;
        sum += gap * gap;
      }
      const Places near = sum <= best[v];
      uint64_t words[BYTES / sizeof(uint64_t)];
      std::memcpy(words, &near, sizeof words);
      for (const uint64_t word : words) any |= word;
    }
    return any;
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

// Numbers as unsigned integers in the same order, NaN among them.
template <typename Real> typename Types<Real>::Key sortable(Real value) {
  using Key = typename Types<Real>::Key;
  Key bits;
  std::memcpy(&bits, &value, sizeof bits);
  const Key sign = Key(1) << (8 * sizeof bits - 1);
  return bits & sign ? ~bits : bits | sign;
}

// The nodes of one cloud, halved down to leaves of one block of queries.
template <typename Real> struct Tree {
  // Nodes [first, last); its halves are the next box and the box `right`, which a leaf lacks.
  struct Box {
    int64_t first, last, right;
  };
  Nodes<Real> nodes;  // leaf after leaf
  std::vector<Box> boxes;
  std::vector<Real> ends;  // of each box, and in it of each feature: lowest, highest
  int features;

  const Real *range(int64_t box) const { return ends.data() + 2 * features * box; }

  void build(const Nodes<Real> &given, int number_of_features) {
    features = number_of_features;
    boxes.clear();
    ends.clear();
    order.resize(given.count);
    for (int64_t i = 0; i < given.count; i++) order[i].place = i;
    halve(given, 0, given.count);
    nodes.count = given.count;
    nodes.padded = given.padded;
    nodes.values.resize(given.values.size());
    nodes.places.resize(given.places.size());
    for (int64_t i = 0; i < nodes.padded; i++) {
      const int64_t from = order[std::min(i, nodes.count - 1)].place;
      for (int f = 0; f < features; f++) nodes.feature(f)[i] = given.feature(f)[from];
      nodes.places[i] = given.places[from];
    }
  }

 private:
  struct Item {
    typename Types<Real>::Key key;
    typename Types<Real>::Place place;
  };
  std::vector<Item> order;  // scratch

  void halve(const Nodes<Real> &given, int64_t first, int64_t last) {
    const int64_t box = boxes.size(), leaf = VECTORS * lanes<Real>();
    boxes.push_back({first, last, 0});
    int widest = 0;
    Real width = -1;
    for (int f = 0; f < features; f++) {
      const Real *values = given.feature(f);
      Real low = std::numeric_limits<Real>::infinity(), high = -low;  // past any NaN
      for (int64_t i = first; i < last; i++) {
        const Real value = values[order[i].place];
        low = value < low ? value : low;
        high = value > high ? value : high;
      }
      ends.push_back(low);
      ends.push_back(high);
      if (high - low > width) width = high - low, widest = f;
    }
    if (last - first <= leaf) return;
    // whole leaves to the left, so that a leaf of queries is a block
    const int64_t middle = first + ((last - first) / 2 + leaf - 1) / leaf * leaf;
    for (int64_t i = first; i < last; i++)
      order[i].key = sortable(given.feature(widest)[order[i].place]);
    std::nth_element(order.begin() + first, order.begin() + middle, order.begin() + last,
                     [](const Item &a, const Item &b) { return a.key < b.key; });
    halve(given, first, middle);
    boxes[box].right = boxes.size();
    halve(given, middle, last);
  }
};

// A block of queries on its way down a tree of points.
template <typename Real, int FEATURES> struct Descent {
  Block<Real, FEATURES> &block;
  const Real *queries;  // ends of their box
  const Tree<Real> &points;

  // How far, squared, the box of the queries is from another.
  Real apart(int64_t box) const {
    const Real *ends = points.range(box);
    Real sum = 0;
    for (int f = 0; f < block.features; f++) {
      const Real below = ends[2 * f] - queries[2 * f + 1];
      const Real above = queries[2 * f] - ends[2 * f + 1];
      const Real gap = below > 0 ? below : above > 0 ? above : 0;
      sum += gap * gap;
    }
    return sum;
  }

  void into(int64_t box) {
    if (!block.may_meet(points.range(box))) return;
    const auto &here = points.boxes[box];
    if (!here.right) return block.template meet<true>(points.nodes, here.first, here.last);
    const bool left_first = apart(box + 1) <= apart(here.right);
    into(left_first ? box + 1 : here.right);
    into(left_first ? here.right : box + 1);
  }
};

template <typename Real, int FEATURES>
void search_tree(const Tree<Real> &queries, const Tree<Real> &points, int64_t lowest,
                 const Share &share, const Known<Real> &known, int64_t *index) {
  int64_t number = 0;
  for (size_t box = 0; box < queries.boxes.size(); box++) {
    if (queries.boxes[box].right || number++ % share.parts != share.part) continue;
    Block<Real, FEATURES> block(queries.nodes, queries.boxes[box].first, queries.features, lowest);
    if (known.rows) block.begin_at(index, known.rows, known.stride);
    Descent<Real, FEATURES>{block, queries.range(box), points}.into(0);
    block.write(index);
  }
}

template <typename Real, int FEATURES>
void search(const Side<Real> &a, const Side<Real> &b, int features, int64_t *index_a,
            int64_t *index_b, bool known, const Share &share) {
  Nodes<Real> nodes_a, nodes_b;
  Tree<Real> tree_a, tree_b;
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
    if (nodes_b.count < HALVED || nodes_a.count < HALVED) {
      search_all<Real, FEATURES>(nodes_a, nodes_b, features, share, known_a, to_b);
      if (to_a) search_all<Real, FEATURES>(nodes_b, nodes_a, features, share, known_b, to_a);
      continue;
    }
    tree_a.build(nodes_a, features);
    tree_b.build(nodes_b, features);
    const int64_t lowest_a = nodes_a.places[0], lowest_b = nodes_b.places[0];
    search_tree<Real, FEATURES>(tree_a, tree_b, lowest_b, share, known_a, to_b);
    if (to_a) search_tree<Real, FEATURES>(tree_b, tree_a, lowest_a, share, known_b, to_a);
  }
}

template <typename Real>
void find(const Side<Real> &a, const Side<Real> &b, int64_t features, int64_t *index_a,
          int64_t *index_b, bool known, const Share &share) {
  const auto chosen = features == 2   ? search<Real, 2>
                      : features == 3 ? search<Real, 3>
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

// One library has float or double, REAL, which whoever compiles this says.

extern "C" void nearest(const REAL *a, const uint8_t *mask_a, const int64_t *starts_a,
                        int64_t size_a, int64_t stride_a, const REAL *b, const uint8_t *mask_b,
                        const int64_t *starts_b, int64_t size_b, int64_t stride_b,
                        int64_t features, int64_t *index_a, int64_t *index_b, int64_t known,
                        int64_t first, int64_t last, int64_t part, int64_t parts) {
  find<REAL>({a, mask_a, starts_a, size_a, stride_a}, {b, mask_b, starts_b, size_b, stride_b},
             features, index_a, index_b, known, {first, last, part, parts});
}

extern "C" void terms(const REAL *a, int64_t size_a, const REAL *b, int64_t size_b,
                      int64_t features, int64_t searched, double weight, const int64_t *index_a,
                      const int64_t *index_b, REAL *terms_a, REAL *terms_b, int64_t first,
                      int64_t last) {
  const Terms<REAL> sides{features, searched, REAL(weight), first, last};
  sides.forward(a, size_a, b, size_b, index_a, terms_a);
  sides.forward(b, size_b, a, size_a, index_b, terms_b);
}

extern "C" void terms_backward(const REAL *a, int64_t size_a, const REAL *b, int64_t size_b,
                               int64_t features, int64_t searched, double weight,
                               const int64_t *index_a, const int64_t *index_b,
                               const REAL *grad_terms_a, const REAL *grad_terms_b, REAL *grad_a,
                               REAL *grad_b, int64_t first, int64_t last) {
  const Terms<REAL> sides{features, searched, REAL(weight), first, last};
  sides.backward(a, size_a, b, size_b, index_a, grad_terms_a, grad_a, grad_b);
  sides.backward(b, size_b, a, size_a, index_b, grad_terms_b, grad_b, grad_a);
}
