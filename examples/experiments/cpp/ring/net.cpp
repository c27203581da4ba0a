#include "net.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

namespace {

constexpr std::size_t chunk = 256 * 1024;
constexpr std::size_t line_max = 1 << 20;
constexpr int retry_ms = 20;

std::string reason(int error) { return std::strerror(error); }

using Addresses = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

Addresses resolve(const std::string& address, std::uint16_t port, int flags) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags;
    addrinfo* found = nullptr;
    const int error = getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found);
    if (error != 0) throw Failure("cannot resolve " + address + ": " + gai_strerror(error));
    return {found, freeaddrinfo};
}

Fd new_socket(const addrinfo& where) {
    Fd fd(::socket(where.ai_family, where.ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, where.ai_protocol));
    if (!fd.open()) throw Failure("cannot make a socket: " + reason(errno));
    return fd;
}

void tune(const Fd& fd, int socket_buffer) {
    const int on = 1;
    // A ring passes small messages on at once; Nagle's algorithm would hold them back.
    setsockopt(fd.number(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (socket_buffer > 0) {
        setsockopt(fd.number(), SOL_SOCKET, SO_SNDBUF, &socket_buffer, sizeof socket_buffer);
        setsockopt(fd.number(), SOL_SOCKET, SO_RCVBUF, &socket_buffer, sizeof socket_buffer);
    }
}

// 0, or the errno of the attempt.
int connect_once(const Fd& fd, const addrinfo& where, const Deadline& deadline) {
    if (::connect(fd.number(), where.ai_addr, where.ai_addrlen) == 0) return 0;
    if (errno != EINPROGRESS) return errno;
    std::vector<pollfd> wanted{{fd.number(), POLLOUT, 0}};
    if (!wait_for(wanted, deadline)) return ETIMEDOUT;
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd.number(), SOL_SOCKET, SO_ERROR, &error, &size);
    return error;
}

bool may_come_up(int error) { return error == ECONNREFUSED || error == EHOSTUNREACH || error == ECONNRESET; }

bool not_now(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

void pause_before_retry() { ::poll(nullptr, 0, retry_ms); }

}  // namespace

Fd& Fd::operator=(Fd&& other) noexcept {
    if (this != &other) {
        close();
        number_ = other.release();
    }
    return *this;
}

void Fd::close() {
    if (number_ >= 0) ::close(number_);
    number_ = -1;
}

int Fd::release() {
    const int number = number_;
    number_ = -1;
    return number;
}

int Deadline::poll_ms() const {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end_ - Clock::now()).count();
    return static_cast<int>(std::clamp<long long>(left + 1, 0, 60'000));
}

bool wait_for(std::vector<pollfd>& wanted, const Deadline& deadline) {
    for (;;) {
        const int ready = ::poll(wanted.data(), wanted.size(), deadline.poll_ms());
        if (ready > 0) return true;
        if (ready < 0 && errno != EINTR) throw Failure("cannot poll: " + reason(errno));
        if (deadline.passed()) return false;
    }
}

std::string endpoint(const std::string& address, std::uint16_t port) { return address + ":" + std::to_string(port); }

Fd listen_on(const std::string& address, std::uint16_t port) {
    const Addresses where = resolve(address, port, AI_PASSIVE);
    Fd fd = new_socket(*where);
    const int on = 1;
    // The port of a run that has just ended is free; only a live listener is in the way.
    setsockopt(fd.number(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(fd.number(), where->ai_addr, where->ai_addrlen) != 0 || ::listen(fd.number(), SOMAXCONN) != 0) {
        throw Failure("cannot listen on " + endpoint(address, port) + ": " + reason(errno));
    }
    return fd;
}

std::optional<Fd> accept_from(const Fd& listener, int socket_buffer) {
    Fd fd(::accept4(listener.number(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd.open()) {
        if (not_now(errno) || errno == ECONNABORTED) return std::nullopt;
        throw Failure("cannot accept a connection: " + reason(errno));
    }
    tune(fd, socket_buffer);
    return fd;
}

Fd connect_to(const std::string& address, std::uint16_t port, int socket_buffer, const Deadline& deadline) {
    const Addresses where = resolve(address, port, 0);
    for (;;) {
        Fd fd = new_socket(*where);
        tune(fd, socket_buffer);
        const int error = connect_once(fd, *where, deadline);
        if (error == 0) return fd;
        if (!may_come_up(error) || deadline.passed()) {
            throw Failure("cannot connect to " + endpoint(address, port) + ": " + reason(error));
        }
        pause_before_retry();
    }
}

void Buffer::drop(std::size_t count) {
    head_ += count;
    if (head_ == bytes_.size()) {
        bytes_.clear();
        head_ = 0;
    } else if (head_ > chunk && head_ > bytes_.size() / 2) {
        // Moving only when more than half is used keeps the cost per byte constant.
        bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(head_));
        head_ = 0;
    }
}

bool Buffer::receive(const Fd& from) {
    thread_local std::vector<char> scratch(chunk);
    const ssize_t count = ::recv(from.number(), scratch.data(), scratch.size(), 0);
    if (count > 0) append(scratch.data(), static_cast<std::size_t>(count));
    return count > 0 || (count < 0 && not_now(errno));
}

bool Buffer::send(const Fd& to) {
    while (!empty()) {
        const ssize_t count = ::send(to.number(), data(), size(), MSG_NOSIGNAL);
        if (count < 0) return not_now(errno);
        drop(static_cast<std::size_t>(count));
    }
    return true;
}

void Lines::put(const std::string& line) {
    output_.append(line.data(), line.size());
    output_.append("\n", 1);
}

bool Lines::move() {
    const bool received = input_.receive(fd_);
    return output_.send(fd_) && received;
}

std::optional<std::string> Lines::take() {
    const char* const begin = input_.data();
    const char* const end = begin + input_.size();
    const char* const newline = std::find(begin, end, '\n');
    if (newline == end) {
        if (input_.size() > line_max) throw Failure("a control line is longer than 1 MiB");
        return std::nullopt;
    }
    std::string line(begin, newline);
    input_.drop(line.size() + 1);
    return line;
}

void Lines::flush(const Deadline& deadline) {
    while (output_.send(fd_) && !output_.empty()) {
        std::vector<pollfd> wanted{{fd_.number(), POLLOUT, 0}};
        if (!wait_for(wanted, deadline)) return;
    }
}
