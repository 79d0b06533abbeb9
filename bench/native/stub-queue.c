// A queue pair and its completion queue that move no bytes, behind a table of functions as an open RDMA device has it: what is left is
// the cost of calling them.
#include <stdint.h>
#include <string.h>

struct sge { uint64_t address; uint32_t length, key; };
struct request {
  uint64_t id;
  struct request *next;
  struct sge *sges;
  int32_t sge_count, opcode;
  uint32_t flags, immediate;
  uint64_t remote_address;
  uint32_t remote_key;
  char rest[76];
};
struct completion { uint64_t id; int32_t status; char rest[36]; };

enum { ROOM = 4096 };
static uint64_t done[ROOM];
static uint32_t head, tail;
static volatile uint64_t sink;
static char context[512];

static int post_send(void *pair, struct request *request, struct request **bad) {
  (void)pair;
  for (; request; request = request->next) {
    if (head - tail == ROOM) { *bad = request; return 12; }
    sink += request->sges->address + request->sges->length + request->remote_address + request->remote_key;
    done[head++ % ROOM] = request->id;
  }
  return 0;
}

static int poll_cq(void *queue, int count, struct completion *completions) {
  (void)queue;
  int found = 0;
  for (; found < count && tail != head; found++) {
    memset(&completions[found], 0, sizeof completions[found]);
    completions[found].id = done[tail++ % ROOM];
  }
  return found;
}

static int request_notify(void *queue, int solicited) { (void)queue; (void)solicited; return 0; }

uintptr_t stub_context(void) {
  void *functions[] = { (void *)poll_cq, (void *)request_notify, (void *)post_send };
  memcpy(context + 96, &functions[0], sizeof(void *));
  memcpy(context + 104, &functions[1], sizeof(void *));
  memcpy(context + 208, &functions[2], sizeof(void *));
  return (uintptr_t)context;
}
