// The driver: waits until the ring stands, has it run, adds up what the workers measured, and prints it.

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "net.hpp"
#include "protocol.hpp"
#include "roles.hpp"

namespace {

struct Summary {
    unsigned workers = 0;
    std::uint64_t messages = 0;
    double elapsed_s = 0;
    double messages_per_s = 0;
    double megabytes_per_s = 0;
    Histogram latency_ns;
};

unsigned await_ready(Lines& manager, const Options& options) {
    const std::string line = next_line(manager, "manager", Deadline(options.wait_s + options.timeout_s));
    const auto said = words(line);
    const auto count = said.size() == 2 && said[0] == "READY" ? number(said[1], 1U << 20U) : std::nullopt;
    if (!count) throw Failure("the manager said '" + line + "' instead of READY");
    return static_cast<unsigned>(*count);
}

void add(Histogram& total, const Histogram& part) {
    for (std::size_t bucket = 0; bucket < Histogram::buckets; ++bucket) total.add(bucket, part.at(bucket));
    total.add_sum(part.sum());
}

Summary collect(Lines& manager, unsigned workers, const Options& options) {
    Summary summary;
    summary.workers = workers;
    std::uint64_t completed = 0;
    const Deadline deadline(options.phase_limit_s() + options.timeout_s);
    for (unsigned received = 0; received < workers; ++received) {
        const Result result = result_from(next_line(manager, "manager", deadline));
        completed += result.completed;
        summary.elapsed_s = std::max(summary.elapsed_s, result.elapsed_ns / 1e9);
        add(summary.latency_ns, result.latency_ns);
    }
    // A message that went once round the ring was sent over as many links as there are workers.
    summary.messages = completed * workers;
    if (summary.elapsed_s > 0) summary.messages_per_s = static_cast<double>(summary.messages) / summary.elapsed_s;
    summary.megabytes_per_s = summary.messages_per_s * options.payload / 1e6;
    return summary;
}

std::string json_text(const std::string& text) {
    std::string quoted = "\"";
    for (const unsigned char letter : text) {
        if (letter == '"' || letter == '\\') quoted += '\\';
        quoted += letter < 0x20 ? ' ' : static_cast<char>(letter);
    }
    return quoted + '"';
}

void print(const Summary& summary, const Options& options) {
    const Histogram& latency = summary.latency_ns;
    const double p50 = latency.quantile(0.5) / 1e3;
    const double p90 = latency.quantile(0.9) / 1e3;
    const double p99 = latency.quantile(0.99) / 1e3;
    const double mean = latency.mean() / 1e3;
    std::printf("result: %u workers, %u bytes: %.0f messages/s, %.2f MB/s, latency mean %.1f us, p50 %.1f us, p99 %.1f us\n",
                summary.workers, options.payload, summary.messages_per_s, summary.megabytes_per_s, mean, p50, p99);
    std::printf("{\"workers\": %u, \"procs_per_node\": %u, \"payload_bytes\": %u, \"window\": %u, \"seed\": %llu, "
                "\"workload\": %s, \"seconds\": %.6f, \"messages\": %llu, \"throughput_messages_per_s\": %.3f, "
                "\"throughput_mb_per_s\": %.6f, \"latency_us\": {\"mean\": %.3f, \"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f}}\n",
                summary.workers, options.processes_per_node, options.payload, options.window,
                static_cast<unsigned long long>(options.seed), json_text(options.workload).c_str(), summary.elapsed_s,
                static_cast<unsigned long long>(summary.messages), summary.messages_per_s, summary.megabytes_per_s, mean,
                p50, p90, p99);
    if (std::fflush(stdout) != 0) throw Failure("cannot write the result to standard output");
}

}  // namespace

void run_driver(const Options& options) {
    Lines manager(connect_to(options.manager_address, options.manager_port, 0, Deadline(options.timeout_s)));
    manager.put("DRIVER");
    const unsigned workers = await_ready(manager, options);
    if (workers != options.expected_workers()) {
        const std::string reason = "the driver expects " + std::to_string(options.expected_workers()) +
                                   " workers and the manager has " + std::to_string(workers) + ": give both the same -x";
        manager.put("ABORT " + reason);
        manager.flush(Deadline(1));
        throw Failure(reason);
    }
    std::cout << options.role_name << ": " << workers << " workers are ready" << std::endl;
    manager.put(to_line(Phase{options.payload, options.window, options.rounds, options.seed, options.seconds,
                              options.phase_limit_s()}));
    const Summary summary = collect(manager, workers, options);
    if (summary.messages == 0) throw Failure("no message came round the ring in time: give more --seconds");
    print(summary, options);
    manager.put("FINISH");
    manager.flush(Deadline(options.timeout_s));
}
