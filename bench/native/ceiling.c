/*
 * What this machine can do without us: plain blocking sockets over loopback, and memcpy.
 *
 *   ceiling BYTES            then one command a line on stdin, one JSON line each on stdout:
 *   sockets CONNECTIONS CHUNK    READ-like: a second process sends BYTES, this one receives them
 *   pingpong COUNT CHUNK         latency: 24 bytes there, CHUNK bytes back, one after the other
 *   vmread THREADS CHUNK         process_vm_readv from the second process, BYTES in all
 *   memcpy                       one thread, BYTES
 *
 * Both processes keep their memory, touched once, for all samples. Each connection has a thread on
 * either side. CPU seconds are those of both processes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 64

static size_t total_bytes;
static char *memory;
static int listener;
static struct sockaddr_in server_address;

/* What a connection is for; CPU tells the seconds that the server has used, ADDRESS where its memory is. */
enum kind { STREAM, PING, CPU, ADDRESS };

struct order {
  enum kind kind;
  int index, connections;
  size_t chunk;
};

#define PING_BYTES 24

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static double now_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu_seconds(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static char *allocate_touched(size_t bytes) {
  char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) fail("mmap");
  memset(p, 1, bytes);
  return p;
}

static void read_exactly(int fd, void *at, size_t bytes) {
  for (char *p = at; bytes > 0;) {
    ssize_t n = read(fd, p, bytes);
    if (n <= 0) fail("read");
    p += n, bytes -= (size_t)n;
  }
}

static void write_exactly(int fd, const void *at, size_t bytes) {
  for (const char *p = at; bytes > 0;) {
    ssize_t n = send(fd, p, bytes, MSG_NOSIGNAL);
    if (n <= 0) fail("send");
    p += n, bytes -= (size_t)n;
  }
}

static void answer_pings(int fd, size_t chunk) {
  char request[PING_BYTES];
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  while (recv(fd, request, sizeof request, MSG_WAITALL) == sizeof request) write_exactly(fd, memory, chunk);
}

static void stream_share(int fd, const struct order *order) {
  size_t share = total_bytes / (size_t)order->connections;
  char *p = memory + share * (size_t)order->index;
  for (size_t left = share; left > 0;) {
    ssize_t n = send(fd, p, left < order->chunk ? left : order->chunk, 0);
    if (n <= 0) fail("send");
    p += n, left -= (size_t)n;
  }
  char receipt;
  read_exactly(fd, &receipt, 1);
}

/* The server's side of one connection. */
static void *serve(void *argument) {
  int fd = (int)(long)argument;
  struct order order;
  read_exactly(fd, &order, sizeof order);
  double cpu = cpu_seconds();
  if (order.kind == STREAM) stream_share(fd, &order);
  if (order.kind == PING) answer_pings(fd, order.chunk);
  if (order.kind == CPU) write_exactly(fd, &cpu, sizeof cpu);
  if (order.kind == ADDRESS) write_exactly(fd, &memory, sizeof memory);
  close(fd);
  return NULL;
}

static void run_server(void) {
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) fail("accept");
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve, (void *)(long)fd) != 0) fail("pthread_create");
    pthread_detach(thread);
  }
}

static int send_order(const struct order *order) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (void *)&server_address, sizeof server_address) < 0) fail("connect");
  write_exactly(fd, order, sizeof *order);
  return fd;
}

static void ask_server(enum kind kind, void *answer, size_t bytes) {
  int fd = send_order(&(struct order){.kind = kind});
  read_exactly(fd, answer, bytes);
  close(fd);
}

static double both_cpu_seconds(void) {
  double server;
  ask_server(CPU, &server, sizeof server);
  return server + cpu_seconds();
}

static void *fetch(void *argument) {
  struct order *order = argument;
  int fd = send_order(order);
  size_t share = total_bytes / (size_t)order->connections;
  char *p = memory + share * (size_t)order->index;
  for (size_t left = share; left > 0;) {
    ssize_t n = recv(fd, p, left < order->chunk ? left : order->chunk, 0);
    if (n <= 0) fail("recv");
    p += n, left -= (size_t)n;
  }
  if (write(fd, "", 1) != 1) fail("write");
  char end;
  if (read(fd, &end, 1) != 0) fail("read");
  close(fd);
  return NULL;
}

static pid_t server_pid;
static char *server_memory;

static void *read_memory(void *argument) {
  struct order *order = argument;
  size_t share = total_bytes / (size_t)order->connections;
  size_t offset = share * (size_t)order->index;
  for (size_t left = share; left > 0;) {
    size_t length = left < order->chunk ? left : order->chunk;
    struct iovec local = {memory + offset, length}, remote = {server_memory + offset, length};
    ssize_t n = process_vm_readv(server_pid, &local, 1, &remote, 1, 0);
    if (n <= 0) fail("process_vm_readv");
    offset += (size_t)n, left -= (size_t)n;
  }
  return NULL;
}

/* Runs `work` in so many threads, each with its share of BYTES. */
static void measure_threads(void *(*work)(void *), int count, size_t chunk) {
  pthread_t threads[MAX_CONNECTIONS];
  struct order orders[MAX_CONNECTIONS];
  double cpu = both_cpu_seconds(), start = now_seconds();
  for (int i = 0; i < count; i++) {
    orders[i] = (struct order){STREAM, i, count, chunk};
    if (pthread_create(&threads[i], NULL, work, &orders[i]) != 0) fail("pthread_create");
  }
  for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
  double seconds = now_seconds() - start;
  printf("{\"seconds\":%.6f,\"cpuSeconds\":%.6f}\n", seconds, both_cpu_seconds() - cpu);
}

static int compare_doubles(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void measure_pings(int count, size_t chunk) {
  double *microseconds = malloc(sizeof(double) * (size_t)count);
  if (microseconds == NULL) fail("malloc");
  int fd = send_order(&(struct order){.kind = PING, .chunk = chunk}), on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  char request[PING_BYTES] = {0};
  for (int i = 0; i < count; i++) {
    double start = now_seconds();
    write_exactly(fd, request, sizeof request);
    read_exactly(fd, memory, chunk);
    microseconds[i] = (now_seconds() - start) * 1e6;
  }
  close(fd);
  qsort(microseconds, (size_t)count, sizeof(double), compare_doubles);
  printf("{\"p50\":%.2f,\"p99\":%.2f}\n", microseconds[count / 2], microseconds[count - 1 - count / 100]);
  free(microseconds);
}

static void measure_memcpy(void) {
  static char *copy;
  if (copy == NULL) copy = allocate_touched(total_bytes);
  double cpu = cpu_seconds(), start = now_seconds();
  memcpy(copy, memory, total_bytes);
  printf("{\"seconds\":%.6f,\"cpuSeconds\":%.6f}\n", now_seconds() - start, cpu_seconds() - cpu);
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  total_bytes = strtoull(argv[1], NULL, 10);
  listener = socket(AF_INET, SOCK_STREAM, 0);
  server_address.sin_family = AF_INET;
  server_address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof server_address;
  if (listener < 0 || bind(listener, (void *)&server_address, length) < 0 || listen(listener, 128) < 0) fail("listen");
  if (getsockname(listener, (void *)&server_address, &length) < 0) fail("getsockname");
  server_pid = fork();
  memory = allocate_touched(total_bytes);
  if (server_pid == 0) run_server();
  setvbuf(stdout, NULL, _IOLBF, 0);
  printf("{\"ready\":true}\n");
  char line[128];
  while (fgets(line, sizeof line, stdin) != NULL) {
    int count;
    size_t chunk;
    if (sscanf(line, "sockets %d %zu", &count, &chunk) == 2 && count > 0 && count <= MAX_CONNECTIONS) {
      measure_threads(fetch, count, chunk);
    } else if (sscanf(line, "vmread %d %zu", &count, &chunk) == 2 && count > 0 && count <= MAX_CONNECTIONS) {
      ask_server(ADDRESS, &server_memory, sizeof server_memory);
      measure_threads(read_memory, count, chunk);
    } else if (sscanf(line, "pingpong %d %zu", &count, &chunk) == 2 && count > 0 && chunk <= total_bytes) {
      measure_pings(count, chunk);
    } else if (strncmp(line, "memcpy", 6) == 0) {
      measure_memcpy();
    } else {
      return 2;
    }
  }
  kill(server_pid, SIGKILL);
  waitpid(server_pid, NULL, 0);
  return 0;
}
