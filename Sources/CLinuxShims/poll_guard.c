// Keeps peers from ending the process through ZeroMQ 4.3.4 (its issue 4841).
//
// Once the receive queue of a connection is full, ZeroMQ asks for no more input from it. Linux tells of errors and hang-ups all the same, and
// ZeroMQ answers with a state of the connection (`_io_error`) in which it must not write any more, until the queue was emptied. It forgets that
// in two places: when a ping of its own is due, and when it comes upon a ping of the peer's in what it had received before. Both end in an
// assertion. So a peer that sends enough messages, a ping, and a TCP reset, all at once, ends the process.
//
// Here ZeroMQ is told of errors and hang-ups only where it has asked for input. It finds out when it reads on, and nothing is lost meanwhile:
// that is what it does with a connection that was closed in order.
//
// The functions take the place of the C library's for the whole program, and change nothing for other callers than ZeroMQ.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int (*control)(int, int, int, struct epoll_event *);
static int (*await)(int, struct epoll_event *, int, int);
// Where ZeroMQ's code lies; empty if it is not there.
static uintptr_t code_begin, code_end;

static int find_code(struct dl_phdr_info *library, size_t size, void *unused) {
  (void)size;
  (void)unused;
  if (!library->dlpi_name || !strstr(library->dlpi_name, "libzmq.so")) return 0;
  for (int i = 0; i < library->dlpi_phnum; i++) {
    const ElfW(Phdr) *segment = &library->dlpi_phdr[i];
    if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X)) continue;
    code_begin = library->dlpi_addr + segment->p_vaddr;
    code_end = code_begin + segment->p_memsz;
  }
  return 1;
}

static void prepare(void) {
  *(void **)&control = dlsym(RTLD_NEXT, "epoll_ctl");
  *(void **)&await = dlsym(RTLD_NEXT, "epoll_wait");
  dl_iterate_phdr(find_code, NULL);
}

static bool is_zeromq(const void *caller) { return (uintptr_t)caller >= code_begin && (uintptr_t)caller < code_end; }

// ZeroMQ's data are pointers to aligned structures, so their last bit is free to say that no input is wanted.
static const uint64_t no_input = 1;

int epoll_ctl(int poll, int operation, int descriptor, struct epoll_event *event) {
  pthread_once(&once, prepare);
  if (operation == EPOLL_CTL_MOD && !(event->events & EPOLLIN) && is_zeromq(__builtin_return_address(0))) {
    struct epoll_event marked = *event;
    marked.data.u64 |= no_input;
    return control(poll, operation, descriptor, &marked);
  }
  return control(poll, operation, descriptor, event);
}

int epoll_wait(int poll, struct epoll_event *events, int capacity, int timeout) {
  pthread_once(&once, prepare);
  const int count = await(poll, events, capacity, timeout);
  if (count <= 0 || !is_zeromq(__builtin_return_address(0))) return count;
  int kept = 0;
  for (int i = 0; i < count; i++) {
    struct epoll_event event = events[i];
    if (event.data.u64 & no_input) {
      event.data.u64 &= ~no_input;
      event.events &= ~(uint32_t)(EPOLLERR | EPOLLHUP);
      if (!event.events) continue;
    }
    events[kept++] = event;
  }
  // Until the queue is emptied the kernel has nothing else to say, and says it at once.
  if (kept == 0) usleep(1000);
  return kept;
}
