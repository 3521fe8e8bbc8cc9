#include "experiments/workload/arrivals.h"

#include "tests/support/catch.h"

using namespace foretell;

TEST_CASE("arrivals of a Poisson process have its rate, and the seed decides them") {
  const auto times = poisson_arrivals(4001, 50.0, 3);
  CHECK(times.front() == 0);
  CHECK(std::is_sorted(times.begin(), times.end()));
  const double mean_gap = static_cast<double>(times.back()) * 1e-9 / 4000;
  CHECK(mean_gap == Approx(1 / 50.0).epsilon(0.05));  // 4,000 gaps: 1.6 % standard error
  // Gaps are exponential: their standard deviation is their mean.
  double squares = 0;
  for (std::size_t i = 1; i < times.size(); ++i) {
    const double gap = static_cast<double>(times[i] - times[i - 1]) * 1e-9 - mean_gap;
    squares += gap * gap;
  }
  CHECK(std::sqrt(squares / 4000) == Approx(mean_gap).epsilon(0.08));
  CHECK(poisson_arrivals(10, 50.0, 3) == std::vector<std::int64_t>(times.begin(), times.begin() + 10));
  CHECK(poisson_arrivals(10, 50.0, 4)[1] != times[1]);
}
