// Nearest nodes of paired clouds, and the terms of a Chamfer loss with their gradient.
//
// Called from compiled.py, which compiles this file at first use. Distances are summed feature by
// feature in the order of gconvae.neighbors.squared_distance and never fused (the compiler is told
// -ffp-contract=off), so that they have its bits, and ties go to the lowest index.
//
// Small clouds: a block of queries, one in each lane of a vector, meets every point. Large clouds:
// both sides are parted across their widest axis again and again, and a block of queries that lie
// together goes down the tree of points, nearest box first, leaving out boxes that are farther from
// each of them than what it has found. Where a near point of each query is known, queries lie
// together if those points do, and need no tree. Rounding keeps the order of numbers, so a rounded
// sum of squares is never below that of smaller gaps: no tolerance is needed for exact results.
//
// A query whose best distance has left the range of float (DOUBTFUL) is asked again in double.

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
constexpr int VECTORS = 2;             // of a block of queries, to hide a comparison's latency
constexpr int64_t PARTED = 768;        // points of a cloud from which trees pay
constexpr int64_t PARTED_KNOWN = 640;  // likewise where near points are known
constexpr int64_t LEAF = 32;           // nodes of a box that has no parts, at most
constexpr int64_t SAMPLE = 32;         // nodes whose median stands for that of all of a box
constexpr float DOUBTFUL = 7.8886090522101181e-31f;  // 2^-100, below which squares lose digits

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

  // All of another, the i-th being its from(i)-th; the last one fills the last block.
  template <typename From> void arrange(const Nodes &given, int features, const From &from) {
    count = given.count;
    padded = given.padded;
    values.resize(given.values.size());
    places.resize(given.places.size());
    for (int64_t i = 0; i < padded; i++) {
      const int64_t at = from(std::min(i, count - 1));
      for (int f = 0; f < features; f++) feature(f)[i] = given.feature(f)[at];
      places[i] = given.places[at];
    }
  }
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

  // Starts from the points that `index` holds, where it holds one (not below 0).
  void begin_at(const int64_t *index, const Real *rows, int64_t stride) {
    constexpr int64_t size = VECTORS * lanes<Real>();
    Real nearest[size];  // beside the vectors, whose lanes are slow to reach one by one
    Place found[size];
    std::memcpy(nearest, best, sizeof nearest);
    std::memcpy(found, place, sizeof found);
    for (int64_t l = 0; l < size; l++) {
      const int64_t known = index[queries.places[first + l]];
      if (known < 0) continue;
      Real distance = 0;
      for (int f = 0; f < count(); f++) {
        const Real gap = queries.feature(f)[first + l] - rows[known * stride + f];
        distance = f ? distance + gap * gap : gap * gap;
      }
      if (!(distance < std::numeric_limits<Real>::infinity())) continue;
      nearest[l] = distance;
      found[l] = known;
    }
    std::memcpy(best, nearest, sizeof nearest);
    std::memcpy(place, found, sizeof found);
  }

  // Lets a point as near as the best take over, in a look at all points in the order of their places.
  void admit_equal() {
    for (int v = 0; v < VECTORS; v++) best[v] += best[v] + std::numeric_limits<Real>::min();
  }

  int count() const { return FEATURES ? FEATURES : features; }  // known to the compiler

  Values asked(int f, int v) const {
    if (FEATURES) return query[FEATURES ? f : 0][v];
    Values values;
    std::memcpy(&values, queries.feature(f) + first + v * lanes<Real>(), sizeof values);
    return values;
  }

  // Points in any order (SHUFFLED), or in the order of their places.
  template <bool SHUFFLED> void meet(const Nodes<Real> &points, int64_t from, int64_t to) {
    Values nearest[VECTORS];  // in registers
    Places found[VECTORS];
    std::copy_n(best, VECTORS, nearest);
    std::copy_n(place, VECTORS, found);
    for (int64_t j = from; j < to; j++) {
      const Place where = points.places[j];
      for (int v = 0; v < VECTORS; v++) {
        Values gap = asked(0, v) - points.feature(0)[j];
        Values distance = gap * gap;
        for (int f = 1; f < count(); f++) {
          gap = asked(f, v) - points.feature(f)[j];
          distance += gap * gap;
        }
        Places closer = distance < nearest[v];
        if (SHUFFLED) closer |= (distance == nearest[v]) & (where < found[v]);
        nearest[v] = closer ? distance : nearest[v];
        found[v] = closer ? Places{} + where : found[v];
      }
    }
    std::copy_n(nearest, VECTORS, best);
    std::copy_n(found, VECTORS, place);
  }

  // Whether a point between these ends, lowest and highest of each feature, may be as near to a
  // query as the best that it has met.
  bool may_meet(const Real *ends) const {
    uint64_t any = 0;
    for (int v = 0; v < VECTORS; v++) {
      Values sum{};
      for (int f = 0; f < count(); f++) {
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

  // Into the places of the queries; `rows` are those of all points, by their places.
  void write(int64_t *index, const Nodes<Real> &points, const Real *rows, int64_t stride) const {
    const int64_t last = std::min(queries.count, first + VECTORS * lanes<Real>());
    for (int64_t i = first; i < last; i++) {
      const int64_t at = i - first;
      index[queries.places[i]] = place[at / lanes<Real>()][at % lanes<Real>()];
    }
    if (sizeof(Real) == sizeof(float) && left_the_range()) {
      for (int64_t i = first; i < last; i++) {
        const Real distance = best[(i - first) / lanes<Real>()][(i - first) % lanes<Real>()];
        int64_t &found = index[queries.places[i]];
        const bool fine = distance >= DOUBTFUL && distance <= std::numeric_limits<Real>::max();
        if (!fine && !same(i, rows + found * stride)) found = nearest_in_double(i, points, found);
      }
    }
  }

  // Whether some best distance may be of squares that are too large or too small for Real.
  bool left_the_range() const {
    Places fine = Places{} - 1;  // all bits
    for (int v = 0; v < VECTORS; v++)
      fine &= (best[v] >= Real(DOUBTFUL)) & (best[v] <= std::numeric_limits<Real>::max());
    uint64_t words[BYTES / sizeof(uint64_t)], all = ~uint64_t(0);
    std::memcpy(words, &fine, sizeof words);
    for (const uint64_t word : words) all &= word;
    return ~all;
  }

  bool same(int64_t query, const Real *row) const {
    for (int f = 0; f < count(); f++)
      if (queries.feature(f)[query] != row[f]) return false;
    return true;
  }

  int64_t nearest_in_double(int64_t query, const Nodes<Real> &points, int64_t found) const {
    double least = std::numeric_limits<double>::infinity();
    for (int64_t j = 0; j < points.count; j++) {
      double distance = 0;
      for (int f = 0; f < count(); f++) {
        const double gap = double(queries.feature(f)[query]) - double(points.feature(f)[j]);
        distance += gap * gap;
      }
      if (distance < least || (distance == least && points.places[j] < found))
        least = distance, found = points.places[j];
    }
    return found;
  }
};

// What one thread does: some clouds, and of each every `parts`-th block of queries.
struct Share {
  int64_t first, last, part, parts;
};

// A near point of each query of a cloud, or -1, and the rows of its points; null = nothing is known.
template <typename Real> struct Known {
  const int64_t *index = nullptr;
  const Real *rows = nullptr;
  int64_t stride = 0;
};

template <typename Real, int FEATURES>
void search_all(const Nodes<Real> &queries, const Nodes<Real> &points, int features,
                const Share &share, const Known<Real> &known, int64_t *index, const Real *rows,
                int64_t stride) {
  const int64_t size = VECTORS * lanes<Real>();
  for (int64_t first = share.part * size; first < queries.count; first += share.parts * size) {
    Block<Real, FEATURES> block(queries, first, features, points.places[0]);
    if (known.index) {
      block.begin_at(known.index, known.rows, known.stride);
      block.admit_equal();
    }
    block.template meet<false>(points, 0, points.count);
    block.write(index, points, rows, stride);
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

// Lowest and highest of some values, past any NaN.
template <typename Real> void span(const Real *values, int64_t count, Real &low, Real &high) {
  low = std::numeric_limits<Real>::infinity(), high = -low;
  for (int64_t i = 0; i < count; i++) {
    low = values[i] < low ? values[i] : low;
    high = values[i] > high ? values[i] : high;
  }
}

// The nodes of one cloud, parted across their widest axis down to leaves.
template <typename Real> struct Tree {
  // Nodes [first, last); its parts are the next box and the box `right`, which a leaf lacks.
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
    order.resize(given.count);
    spare.resize(given.count);
    for (int64_t i = 0; i < given.count; i++) order[i] = i;
    divide(given, 0, given.count);
    nodes.arrange(given, features, [&](int64_t i) { return order[i]; });
    ends.resize(2 * features * boxes.size());
    for (int64_t box = boxes.size() - 1; box >= 0; box--) enclose(box);  // parts come after it
  }

 private:
  using Place = typename Types<Real>::Place;
  std::vector<Place> order, spare;  // scratch

  void divide(const Nodes<Real> &given, int64_t first, int64_t last) {
    const int64_t box = boxes.size();
    boxes.push_back({first, last, 0});
    if (last - first <= LEAF) return;
    const int64_t middle = part(given, first, last);
    divide(given, first, middle);
    boxes[box].right = boxes.size();
    divide(given, middle, last);
  }

  // Puts nodes below about the median of the widest feature first, and tells where the others begin.
  int64_t part(const Nodes<Real> &given, int64_t first, int64_t last) {
    struct Item {
      typename Types<Real>::Key key;
      Place place;
    };
    const int64_t count = last - first, taken = std::min(count, SAMPLE), step = count / taken;
    int widest = 0;
    Real width = -1;
    for (int f = 0; f < features; f++) {
      Real values[SAMPLE], low, high;
      for (int64_t i = 0; i < taken; i++) values[i] = given.feature(f)[order[first + i * step]];
      span(values, taken, low, high);
      if (high - low > width) width = high - low, widest = f;
    }
    const Real *values = given.feature(widest);
    const auto item = [&](Place place) { return Item{sortable(values[place]), place}; };
    const auto smaller = [](const Item &a, const Item &b) { return a.key < b.key; };
    Item sample[SAMPLE];
    for (int64_t i = 0; i < taken; i++) sample[i] = item(order[first + i * step]);
    std::nth_element(sample, sample + taken / 2, sample + taken, smaller);
    const Real median = values[sample[taken / 2].place];
    int64_t below = 0, above = 0;
    for (int64_t i = first; i < last; i++) {  // without a branch, which nobody could foresee
      const Place place = order[i];
      const bool left = values[place] < median;
      order[first + below] = spare[above] = place;
      below += left;
      above += !left;
    }
    std::copy_n(spare.begin(), above, order.begin() + first + below);
    if (std::min(below, above) >= count / 8) return first + below;
    // many are alike, or no numbers
    const auto at = order.begin();
    std::nth_element(at + first, at + first + count / 2, at + last,
                     [&](Place a, Place b) { return smaller(item(a), item(b)); });
    return first + count / 2;
  }

  void enclose(int64_t box) {
    const Box &here = boxes[box];
    for (int f = 0; f < features; f++) {
      Real &low = ends[2 * (box * features + f)], &high = ends[2 * (box * features + f) + 1];
      if (here.right) {
        const Real *left = range(box + 1) + 2 * f, *right = range(here.right) + 2 * f;
        low = std::min(left[0], right[0]);
        high = std::max(left[1], right[1]);
      } else {
        span(nodes.feature(f) + here.first, here.last - here.first, low, high);
      }
    }
  }
};

// A block of queries on its way down a tree of points.
template <typename Real, int FEATURES> struct Descent {
  Block<Real, FEATURES> &block;
  const Real *queries;  // ends of their box; null = it does not matter which box comes first
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
    const bool left_first = !queries || apart(box + 1) <= apart(here.right);
    into(left_first ? box + 1 : here.right);
    into(left_first ? here.right : box + 1);
  }
};

// Queries in an order that puts neighbours side by side.
template <typename Real, int FEATURES>
void search_tree(const Nodes<Real> &queries, const Tree<Real> &points, int64_t lowest,
                 const Share &share, const Known<Real> &known, int64_t *index, const Real *rows,
                 int64_t stride) {
  const int64_t size = VECTORS * lanes<Real>();
  std::vector<Real> ends(2 * points.features);
  for (int64_t first = share.part * size; first < queries.count; first += share.parts * size) {
    Block<Real, FEATURES> block(queries, first, points.features, lowest);
    if (known.index) block.begin_at(known.index, known.rows, known.stride);
    for (int f = 0; f < points.features && !known.index; f++)
      span(queries.feature(f) + first, size, ends[2 * f], ends[2 * f + 1]);
    Descent<Real, FEATURES>{block, known.index ? nullptr : ends.data(), points}.into(0);
    block.write(index, points.nodes, rows, stride);
  }
}

// Nodes in the order in which the tree has the points that are known to be near them: cheaper than
// a tree of their own.
template <typename Real>
void order_by_known(const Nodes<Real> &given, const Tree<Real> &points, int64_t rows,
                    const int64_t *known, int features, Nodes<Real> &ordered) {
  std::vector<int64_t> at(rows), starts(points.nodes.count + 2), order(given.count);
  for (int64_t i = 0; i < points.nodes.count; i++) at[points.nodes.places[i]] = i;
  const auto place = [&](int64_t query) {  // those of which nothing is known come last
    const int64_t point = known[given.places[query]];
    return point < 0 ? points.nodes.count : at[point];
  };
  for (int64_t i = 0; i < given.count; i++) starts[place(i) + 1]++;
  for (size_t i = 1; i < starts.size(); i++) starts[i] += starts[i - 1];
  for (int64_t i = 0; i < given.count; i++) order[starts[place(i)]++] = i;
  ordered.arrange(given, features, [&](int64_t i) { return order[i]; });
}

// What is known of the queries of a cloud.
template <typename Real>
Known<Real> near(const int64_t *known, const Side<Real> &queries, const Side<Real> &points,
                 int64_t cloud) {
  if (!known) return {};
  return {known + queries.begin(cloud), points.values + points.begin(cloud) * points.stride,
          points.stride};
}

// Of a in b, and of b in a where index_b is not null; near points are known of both or of neither.
template <typename Real, int FEATURES>
void search(const Side<Real> &a, const Side<Real> &b, int features, int64_t *index_a,
            int64_t *index_b, const int64_t *known_a, const int64_t *known_b, const Share &share) {
  Nodes<Real> nodes_a, nodes_b, ordered;
  Tree<Real> tree_a, tree_b;
  for (int64_t cloud = share.first; cloud < share.last; cloud++) {
    take(a, cloud, features, nodes_a);
    take(b, cloud, features, nodes_b);
    int64_t *to_b = index_a + a.begin(cloud), *to_a = index_b ? index_b + b.begin(cloud) : nullptr;
    if (!nodes_a.count || !nodes_b.count) continue;
    const int64_t lowest_a = nodes_a.places[0], lowest_b = nodes_b.places[0];
    const Real *rows_a = a.values + a.begin(cloud) * a.stride;
    const Real *rows_b = b.values + b.begin(cloud) * b.stride;
    const Known<Real> near_a = near(known_a, a, b, cloud), near_b = near(known_b, b, a, cloud);
    const int64_t enough = known_a ? PARTED_KNOWN : PARTED;
    if (nodes_b.count < enough || nodes_a.count < enough) {
      search_all<Real, FEATURES>(nodes_a, nodes_b, features, share, near_a, to_b, rows_b,
                                 b.stride);
      if (to_a) search_all<Real, FEATURES>(nodes_b, nodes_a, features, share, near_b, to_a, rows_a,
                                 a.stride);
      continue;
    }
    tree_b.build(nodes_b, features);
    if (to_a || !known_a) tree_a.build(nodes_a, features);
    if (known_a) {
      order_by_known(nodes_a, tree_b, b.rows(cloud), near_a.index, features, ordered);
      search_tree<Real, FEATURES>(ordered, tree_b, lowest_b, share, near_a, to_b, rows_b, b.stride);
    } else {
      search_tree<Real, FEATURES>(tree_a.nodes, tree_b, lowest_b, share, {}, to_b, rows_b, b.stride);
    }
    if (to_a && known_b) {
      order_by_known(nodes_b, tree_a, a.rows(cloud), near_b.index, features, ordered);
      search_tree<Real, FEATURES>(ordered, tree_a, lowest_a, share, near_b, to_a, rows_a, a.stride);
    } else if (to_a) {
      search_tree<Real, FEATURES>(tree_b.nodes, tree_a, lowest_a, share, {}, to_a, rows_a, a.stride);
    }
  }
}

template <typename Real>
void find(const Side<Real> &a, const Side<Real> &b, int64_t features, int64_t *index_a,
          int64_t *index_b, const int64_t *known_a, const int64_t *known_b, const Share &share) {
  const auto chosen = features == 2   ? search<Real, 2>
                      : features == 3 ? search<Real, 3>
                                      : search<Real, 0>;
  chosen(a, b, features, index_a, index_b, known_a, known_b, share);
}

// Squared distance of each node to its partner: |searched features|^2 + weight |the rest|^2.
template <typename Real> struct Terms {
  int64_t features, searched;
  Real weight;
  int64_t first, last;  // clouds

  void forward(const Real *a, int64_t size_a, const Real *b, int64_t size_b,
               const int64_t *index, Real *out) const {
    const bool counts = searched < features && weight != 0;  // else it must not, where it overflows
    for (int64_t cloud = first; cloud < last; cloud++)
      for (int64_t row = cloud * size_a; row < (cloud + 1) * size_a; row++) {
        const Real *p = a + row * features, *q = b + (cloud * size_b + index[row]) * features;
        Real near = 0, rest = 0;
        for (int64_t f = 0; f < searched; f++) near += (p[f] - q[f]) * (p[f] - q[f]);
        for (int64_t f = searched; f < features; f++) rest += (p[f] - q[f]) * (p[f] - q[f]);
        out[row] = counts ? near + weight * rest : near;
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
                        int64_t features, int64_t *index_a, int64_t *index_b,
                        const int64_t *known_a, const int64_t *known_b, int64_t first, int64_t last, int64_t part, int64_t parts) {
  find<REAL>({a, mask_a, starts_a, size_a, stride_a}, {b, mask_b, starts_b, size_b, stride_b},
             features, index_a, index_b, known_a, known_b, {first, last, part, parts});
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
