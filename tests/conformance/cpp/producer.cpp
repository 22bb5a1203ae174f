// A producer of numbered ticks with acks, without a protobuf library. Written from
// docs/protocols/tcp.md and the .proto files:
//   g++ -std=c++17 -O2 -o producer producer.cpp
//   ./producer HOST PORT PRODUCER_ID TICKS FIRST_TIMESTAMP_NS
#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

using std::string;
using u64 = uint64_t;

const u64 BATCH = 500;    // ticks in a batch
const u64 IN_FLIGHT = 4;  // batches without an ack
struct Lost {};           // the connection

string varint(u64 n) {
  string s;
  for (; n >= 0x80; n >>= 7) s += char(n | 0x80);
  return s += char(n);
}
string number_field(int id, u64 n) { return varint(id << 3) + varint(n); }
string bytes_field(int id, const string& b) { return varint(id << 3 | 2) + varint(b.size()) + b; }
string double_field(int id, double d) {  // eight bytes, little-endian
  u64 bits;
  memcpy(&bits, &d, 8);
  string s = varint(id << 3 | 1);
  for (int i = 0; i < 8; i++) s += char(bits >> 8 * i);
  return s;
}

// Any field of a message: its number, and its value or its bytes. Our messages have no other kinds.
struct Field { u64 id, value; string bytes; };
std::vector<Field> parse(const string& s) {
  std::vector<Field> fields;
  size_t at = 0;
  auto read_varint = [&] {
    u64 n = 0;
    for (int shift = 0; at < s.size(); shift += 7) {
      u64 byte = uint8_t(s[at++]);
      n |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    return n;
  };
  while (at < s.size()) {
    u64 tag = read_varint(), n = read_varint();
    fields.push_back({tag >> 3, n, (tag & 7) == 2 ? s.substr(at, n) : ""});
    if ((tag & 7) == 2) at += n;
  }
  return fields;
}

void write_all(int fd, const string& s) {
  for (size_t at = 0; at < s.size();) {
    ssize_t n = send(fd, s.data() + at, s.size() - at, MSG_NOSIGNAL);
    if (n <= 0) throw Lost{};
    at += n;
  }
}
void write_frame(int fd, const string& message) {
  string length;
  for (int shift = 24; shift >= 0; shift -= 8) length += char(message.size() >> shift);
  write_all(fd, length + message);
}
string read_bytes(int fd, size_t size) {
  string s(size, 0);
  for (size_t at = 0; at < size;) {
    ssize_t n = recv(fd, &s[at], size - at, 0);
    if (n <= 0) throw Lost{};
    at += n;
  }
  return s;
}

// Reads one answer of ingest: a welcome or an ack. Returns its last_sequence.
u64 read_answer(int fd, u64& rejected) {
  u64 size = 0, last_sequence = 0;
  for (char byte : read_bytes(fd, 4)) size = size << 8 | uint8_t(byte);
  Field answer = parse(read_bytes(fd, size)).at(0);  // IngestMessage has one field
  std::vector<Field> fields = parse(answer.bytes);
  if (answer.id == 3) {  // ProducerError
    string reason = fields.at(0).bytes;
    if (reason == "shutting_down" || reason == "internal_error") throw Lost{};
    fprintf(stderr, "refused: %s\n", reason.c_str());
    exit(1);
  }
  for (const Field& field : fields) {  // ProducerWelcome and ProducerAck
    if (field.id == 1) last_sequence = field.value;
    if (field.id == 4) rejected++;
  }
  return last_sequence;
}

string make_tick(u64 sequence, u64 first_ns) {  // every 1,000th has no price, and is rejected
  double price = sequence % 1000 ? 1.0 + sequence % 100 : -1.0;
  return bytes_field(1, "CPP" + std::to_string(sequence % 7)) + double_field(2, price) +
         number_field(3, sequence) + number_field(4, first_ns + sequence);
}

int open_connection(const char* host, const char* port) {
  addrinfo hints{}, *found;
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(host, port, &hints, &found)) throw Lost{};
  int fd = socket(found->ai_family, SOCK_STREAM, 0);
  timeval patience{30, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  bool failed = connect(fd, found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
  if (!failed) return fd;
  close(fd);
  throw Lost{};
}

int main(int, char** args) {
  const u64 count = strtoull(args[4], 0, 10), first_ns = strtoull(args[5], 0, 10);
  u64 acked = 0, rejected = 0, connections = 0;
  std::minstd_rand chance(getpid());
  while (acked < count) {
    int fd = -1;
    try {
      fd = open_connection(args[1], args[2]);
      write_all(fd, "MDS2");
      write_frame(fd, bytes_field(1, bytes_field(1, args[3])));  // ProducerHello
      // A welcome that is lower than `acked` would mean that the server lost its data.
      u64 next = read_answer(fd, rejected) + 1;
      if (next <= acked) return 2;
      acked = next - 1;
      printf("session %d goes on after %d\n", int(++connections), int(acked));
      fflush(stdout);
      while (acked < count) {
        while (next <= count && next <= acked + IN_FLIGHT * BATCH) {
          string batch = number_field(2, next);  // TickBatch.first_sequence
          // Batches end at multiples of BATCH, so they are the same when they are sent again.
          do batch += bytes_field(3, make_tick(next, first_ns));
          while (next++ % BATCH && next <= count);
          write_frame(fd, bytes_field(2, batch));
        }
        acked = read_answer(fd, rejected);
      }
    } catch (const Lost&) {
      usleep(50000 + chance() % 100000);
    }
    if (fd >= 0) close(fd);
  }
  printf("acked %d, rejected %d\n", int(acked), int(rejected));
}
