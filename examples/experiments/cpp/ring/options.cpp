#include "options.hpp"

#include <getopt.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <sstream>

namespace {

constexpr unsigned workers_max = 4096;
constexpr std::uint32_t payload_max = 64U << 20;
constexpr std::uint32_t window_max = 4096;
constexpr double duration_max_s = 86400;
constexpr int socket_buffer_max = 1 << 28;

// Long options that have no letter start above every character.
enum : int { opt_payload = 256, opt_seconds, opt_rounds, opt_seed, opt_window, opt_wait, opt_timeout, opt_limit, opt_help };

const option long_options[] = {
    {"ip", required_argument, nullptr, 'i'},
    {"role", required_argument, nullptr, 'm'},
    {"manager-port", required_argument, nullptr, 'r'},
    {"port", required_argument, nullptr, 'p'},
    {"manager", required_argument, nullptr, 'd'},
    {"driver-port", required_argument, nullptr, 's'},
    {"procs", required_argument, nullptr, 't'},
    {"workload", required_argument, nullptr, 'l'},
    {"workers", required_argument, nullptr, 'w'},
    {"partitions", required_argument, nullptr, 'x'},
    {"payload", required_argument, nullptr, opt_payload},
    {"seconds", required_argument, nullptr, opt_seconds},
    {"rounds", required_argument, nullptr, opt_rounds},
    {"seed", required_argument, nullptr, opt_seed},
    {"window", required_argument, nullptr, opt_window},
    {"wait", required_argument, nullptr, opt_wait},
    {"timeout", required_argument, nullptr, opt_timeout},
    {"limit", required_argument, nullptr, opt_limit},
    {"help", no_argument, nullptr, opt_help},
    {nullptr, 0, nullptr, 0},
};

template <typename Number>
Number whole(const std::string& what, const std::string& text, Number least, Number most) {
    Number value{};
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{} || stop != end || value < least || value > most) {
        throw UsageError(what + " wants a whole number from " + std::to_string(least) + " to " +
                         std::to_string(most) + ", got '" + text + "'");
    }
    return value;
}

std::uint16_t port(const std::string& what, const std::string& text) {
    return whole<std::uint16_t>(what, text, 1, 65535);
}

double duration_s(const std::string& what, const std::string& text) {
    char* stop = nullptr;
    const double value = std::strtod(text.c_str(), &stop);
    if (text.empty() || *stop != '\0' || !std::isfinite(value) || value <= 0 || value > duration_max_s) {
        throw UsageError(what + " wants a number of seconds above 0 and at most 86400, got '" + text + "'");
    }
    return value;
}

std::vector<std::string> list(const std::string& what, const std::string& text) {
    std::vector<std::string> items;
    std::istringstream stream(text);
    for (std::string item; std::getline(stream, item, ',');) {
        if (item.empty()) throw UsageError(what + " has an empty address in '" + text + "'");
        items.push_back(item);
    }
    return items;
}

void set_role(Options& options, const std::string& name) {
    if (name == "manager") options.role = Role::manager;
    else if (name == "driver" || name == "master") options.role = Role::driver;
    else if (name == "worker") options.role = Role::worker;
    else throw UsageError("-m wants manager, driver, master or worker, got '" + name + "'");
    options.role_name = name;
}

void set(Options& options, int letter, const std::string& value) {
    constexpr auto u64_max = std::numeric_limits<std::uint64_t>::max();
    switch (letter) {
        case 'i': options.address = value; break;
        case 'm': set_role(options, value); break;
        case 'r': options.manager_port = port("-r", value); break;
        case 'p': options.port = port("-p", value); break;
        case 'd': options.manager_address = value; break;
        // The driver of this benchmark calls the manager and listens nowhere, so its port is only checked.
        case 's': port("-s", value); break;
        case 't': options.processes_per_node = whole<unsigned>("-t", value, 1, workers_max); break;
        case 'l': options.workload = value; break;
        case 'w': options.worker_addresses = list("-w", value); break;
        case 'x': options.partitions = whole<unsigned>("-x", value, 1, workers_max); break;
        case opt_payload: options.payload = whole<std::uint32_t>("--payload", value, 0, payload_max); break;
        case opt_seconds: options.seconds = duration_s("--seconds", value); break;
        case opt_rounds: options.rounds = whole<std::uint64_t>("--rounds", value, 1, u64_max); break;
        case opt_seed: options.seed = whole<std::uint64_t>("--seed", value, 0, u64_max); break;
        case opt_window: options.window = whole<std::uint32_t>("--window", value, 1, window_max); break;
        case opt_wait: options.wait_s = duration_s("--wait", value); break;
        case opt_timeout: options.timeout_s = duration_s("--timeout", value); break;
        case opt_limit: options.limit_s = duration_s("--limit", value); break;
        default: throw UsageError("this option is not handled");
    }
}

void read_environment(Options& options) {
    if (const char* text = std::getenv("RING_SOCKET_BUFFER"); text != nullptr && *text != '\0') {
        options.socket_buffer = whole<int>("RING_SOCKET_BUFFER", text, 0, socket_buffer_max);
    }
}

std::string option_in(int argc, char** argv) {
    const int index = optind - 1;
    return index > 0 && index < argc ? argv[index] : "?";
}

}  // namespace

unsigned Options::expected_workers() const {
    if (partitions != 0) return partitions;
    return static_cast<unsigned>(worker_addresses.size()) * processes_per_node;
}

Options parse_options(int argc, char** argv, bool worker_only) {
    Options options;
    if (argc > 0 && std::strrchr(argv[0], '/') != nullptr) options.program = std::strrchr(argv[0], '/') + 1;
    opterr = 0;
    bool has_role = worker_only;
    for (int letter = 0; (letter = getopt_long(argc, argv, ":i:m:r:p:d:s:t:l:w:x:", long_options, nullptr)) != -1;) {
        if (letter == opt_help) throw HelpWanted{};
        if (letter == '?') throw UsageError("unknown option '" + option_in(argc, argv) + "'");
        if (letter == ':') throw UsageError("option '" + option_in(argc, argv) + "' wants a value");
        set(options, letter, optarg);
        has_role = has_role || letter == 'm';
    }
    if (optind < argc) throw UsageError(std::string("unexpected argument '") + argv[optind] + "'");
    if (!has_role) throw UsageError("-m ROLE is missing");
    if (worker_only && options.role != Role::worker) throw UsageError("this binary is a worker only; -m " + options.role_name + " needs ring");
    if (options.role != Role::worker && options.expected_workers() == 0) throw UsageError("give -x PARTITIONS, or -w ADDRESSES");
    if (options.expected_workers() > workers_max) throw UsageError("at most " + std::to_string(workers_max) + " workers");
    read_environment(options);
    return options;
}

std::string usage(const std::string& program) {
    return "usage: " + program + " -m manager|driver|master|worker [options]\n"
        "  -i IP        own address (worker and manager listen on it)\n"
        "  -r PORT      the manager's port (40000)\n"
        "  -p PORT      the worker's port (50000)\n"
        "  -d ADDRESS   the manager's address\n"
        "  -s PORT      the driver's port (accepted; the driver listens nowhere)\n"
        "  -t N         worker processes on each node\n"
        "  -l FILE      name of the workload (only repeated in the result)\n"
        "  -w A,B       addresses of the workers; they fix the order of the ring\n"
        "  -x N         number of workers in all (by default: addresses × processes)\n"
        "driver only:\n"
        "  --payload BYTES (64)  --window N messages in flight per worker (8)  --seed N (0)\n"
        "  --seconds S (0.5) or --rounds N messages of each worker, which may take --limit S (600)\n"
        "all roles:\n"
        "  --wait S     for the others to come (60)    --timeout S  for any single answer (10)\n"
        "environment: RING_GREETING is printed first; RING_SOCKET_BUFFER is the socket buffers' size in bytes\n";
}
