// What the command line and the environment ask for.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

enum class Role { manager, driver, worker };

struct Options {
    std::string program = "ring";
    Role role = Role::worker;
    std::string role_name = "worker";
    std::string address = "127.0.0.1";
    std::string manager_address = "127.0.0.1";
    std::string workload = "-";
    std::vector<std::string> worker_addresses;
    std::uint16_t manager_port = 40000;
    std::uint16_t port = 50000;
    unsigned processes_per_node = 1;
    unsigned partitions = 0;  // 0: as many as worker addresses × processes per node
    std::uint32_t payload = 64;
    std::uint32_t window = 8;
    std::uint64_t rounds = 0;  // 0: run for `seconds` instead
    std::uint64_t seed = 0;
    double seconds = 0.5;
    double wait_s = 60;     // for the others to come
    double timeout_s = 10;  // for any single answer
    double limit_s = 600;   // for a measured phase with --rounds
    int socket_buffer = 0;  // 0: as the system decides

    unsigned expected_workers() const;
    // How long the measured phase may take before the others count as lost.
    double phase_limit_s() const { return (rounds != 0 ? limit_s : seconds) + timeout_s; }
};

struct UsageError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// A request for --help, which is not an error.
struct HelpWanted {};

// Throws UsageError or HelpWanted. `worker_only` is the ring-worker binary, whose role is given.
Options parse_options(int argc, char** argv, bool worker_only);
std::string usage(const std::string& program);
