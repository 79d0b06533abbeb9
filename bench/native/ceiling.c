/*
 * What this machine can do without us: plain blocking sockets over loopback, and memcpy.
 *
 *   ceiling BYTES            then one command a line on stdin, one JSON line each on stdout:
 *   sockets CONNECTIONS CHUNK    READ-like: a second process sends BYTES, this one receives them
 *   memcpy                       one thread, BYTES
 *
 * Both processes keep their memory, touched once, for all samples. Each connection has a thread on
 * either side. CPU seconds are those of both processes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 64

static size_t total_bytes;
static char *memory;
static int listener;
static struct sockaddr_in server_address;

struct order {
  int index, connections;
  size_t chunk;
};

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

/* The server's side of one connection: takes an order, sends its share, waits for the receipt. */
static void *serve(void *argument) {
  int fd = (int)(long)argument;
  struct order order;
  read_exactly(fd, &order, sizeof order);
  size_t share = total_bytes / (size_t)order.connections;
  char *p = memory + share * (size_t)order.index;
  for (size_t left = share; left > 0;) {
    ssize_t n = send(fd, p, left < order.chunk ? left : order.chunk, 0);
    if (n <= 0) fail("send");
    p += n, left -= (size_t)n;
  }
  char receipt;
  read_exactly(fd, &receipt, 1);
  double cpu = cpu_seconds();
  if (write(fd, &cpu, sizeof cpu) != sizeof cpu) fail("write");
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

static double server_cpu;

static void *fetch(void *argument) {
  struct order *order = argument;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (void *)&server_address, sizeof server_address) < 0) fail("connect");
  if (write(fd, order, sizeof *order) != sizeof *order) fail("write");
  size_t share = total_bytes / (size_t)order->connections;
  char *p = memory + share * (size_t)order->index;
  for (size_t left = share; left > 0;) {
    ssize_t n = recv(fd, p, left < order->chunk ? left : order->chunk, 0);
    if (n <= 0) fail("recv");
    p += n, left -= (size_t)n;
  }
  if (write(fd, "", 1) != 1) fail("write");
  double cpu;
  read_exactly(fd, &cpu, sizeof cpu);
  server_cpu = cpu;
  close(fd);
  return NULL;
}

static void measure_sockets(int connections, size_t chunk) {
  static double last_server_cpu;
  pthread_t threads[MAX_CONNECTIONS];
  struct order orders[MAX_CONNECTIONS];
  double cpu = cpu_seconds(), start = now_seconds();
  for (int i = 0; i < connections; i++) {
    orders[i] = (struct order){i, connections, chunk};
    if (pthread_create(&threads[i], NULL, fetch, &orders[i]) != 0) fail("pthread_create");
  }
  for (int i = 0; i < connections; i++) pthread_join(threads[i], NULL);
  double seconds = now_seconds() - start;
  printf("{\"seconds\":%.6f,\"cpuSeconds\":%.6f}\n", seconds, cpu_seconds() - cpu + server_cpu - last_server_cpu);
  last_server_cpu = server_cpu;
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
  pid_t server = fork();
  memory = allocate_touched(total_bytes);
  if (server == 0) run_server();
  setvbuf(stdout, NULL, _IOLBF, 0);
  printf("{\"ready\":true}\n");
  char line[128];
  while (fgets(line, sizeof line, stdin) != NULL) {
    int connections;
    size_t chunk;
    if (sscanf(line, "sockets %d %zu", &connections, &chunk) == 2 && connections > 0 && connections <= MAX_CONNECTIONS) {
      measure_sockets(connections, chunk);
    } else if (strncmp(line, "memcpy", 6) == 0) {
      measure_memcpy();
    } else {
      return 2;
    }
  }
  kill(server, SIGKILL);
  waitpid(server, NULL, 0);
  return 0;
}
