// TCP without surprises: descriptors that close themselves, deadlines, partial reads and writes.
#pragma once

#include <poll.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

using Clock = std::chrono::steady_clock;

// Something that was tried on the network or with a peer failed.
struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Fd {
public:
    Fd() = default;
    explicit Fd(int number) : number_(number) {}
    Fd(Fd&& other) noexcept : number_(other.release()) {}
    Fd& operator=(Fd&& other) noexcept;
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    ~Fd() { close(); }

    int number() const { return number_; }
    bool open() const { return number_ >= 0; }
    void close();

private:
    int release();
    int number_ = -1;
};

class Deadline {
public:
    explicit Deadline(double seconds)
        : end_(Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds))) {}
    bool passed() const { return Clock::now() >= end_; }
    // For poll(2): at least 1 while time is left, so that waiting never becomes spinning.
    int poll_ms() const;

private:
    Clock::time_point end_;
};

// Waits until one of `wanted` is ready; false if the deadline passed first.
bool wait_for(std::vector<pollfd>& wanted, const Deadline& deadline);

std::string endpoint(const std::string& address, std::uint16_t port);
Fd listen_on(const std::string& address, std::uint16_t port);
// A connection that nobody waits for any more is no error: then the result is empty.
std::optional<Fd> accept_from(const Fd& listener, int socket_buffer);
// Tries again while nobody listens there yet, until the deadline.
Fd connect_to(const std::string& address, std::uint16_t port, int socket_buffer, const Deadline& deadline);

// Bytes received but not yet used, or to be sent but not yet sent.
class Buffer {
public:
    const char* data() const { return bytes_.data() + head_; }
    std::size_t size() const { return bytes_.size() - head_; }
    bool empty() const { return size() == 0; }
    void append(const char* bytes, std::size_t count) { bytes_.insert(bytes_.end(), bytes, bytes + count); }
    void drop(std::size_t count);
    // Both return false when the peer has gone; "not now" is true with nothing moved.
    bool receive(const Fd& from);
    bool send(const Fd& to);

private:
    std::vector<char> bytes_;
    std::size_t head_ = 0;
};

// A control connection: lines of words.
class Lines {
public:
    explicit Lines(Fd fd) : fd_(std::move(fd)) {}
    const Fd& fd() const { return fd_; }
    void put(const std::string& line);
    short events() const { return static_cast<short>(output_.empty() ? POLLIN : POLLIN | POLLOUT); }
    // Moves what can be moved now; false when the peer has gone (lines may still be left to take).
    bool move();
    std::optional<std::string> take();
    // For the last words before leaving.
    void flush(const Deadline& deadline);

private:
    Fd fd_;
    Buffer input_;
    Buffer output_;
};
