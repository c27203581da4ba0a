// Latencies in buckets whose width is at most 1/32 of their value, so that histograms of many workers add up.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

class Histogram {
public:
    static constexpr unsigned precision_bits = 5;
    static constexpr std::size_t per_power = std::size_t{1} << precision_bits;
    static constexpr std::size_t buckets = (64 - precision_bits + 1) * per_power;

    static std::size_t bucket_of(std::uint64_t value) {
        if (value < per_power) return static_cast<std::size_t>(value);
        const unsigned power = 63U - static_cast<unsigned>(__builtin_clzll(value));
        const unsigned shift = power - precision_bits;
        return (shift + 1) * per_power + static_cast<std::size_t>((value >> shift) - per_power);
    }

    // The middle of the bucket.
    static double value_of(std::size_t bucket) {
        if (bucket < per_power) return static_cast<double>(bucket);
        const unsigned shift = static_cast<unsigned>(bucket / per_power) - 1;
        const double low = static_cast<double>(bucket % per_power + per_power);
        return (low + 0.5) * static_cast<double>(std::uint64_t{1} << shift);
    }

    void record(std::uint64_t value) {
        ++counts_[bucket_of(value)];
        ++count_;
        sum_ += static_cast<double>(value);
    }

    void add(std::size_t bucket, std::uint64_t count) {
        counts_[bucket] += count;
        count_ += count;
    }
    void add_sum(double sum) { sum_ += sum; }

    std::uint64_t at(std::size_t bucket) const { return counts_[bucket]; }
    std::uint64_t count() const { return count_; }
    double sum() const { return sum_; }
    double mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }

    // The value below which this part (0 to 1) of all values lies.
    double quantile(double part) const {
        const auto wanted = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(part * static_cast<double>(count_) + 0.5));
        std::uint64_t seen = 0;
        for (std::size_t bucket = 0; bucket < buckets; ++bucket) {
            seen += counts_[bucket];
            if (seen >= wanted && counts_[bucket] != 0) return value_of(bucket);
        }
        return 0;
    }

private:
    std::array<std::uint64_t, buckets> counts_{};
    std::uint64_t count_ = 0;
    double sum_ = 0;
};
