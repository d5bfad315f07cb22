#define _GNU_SOURCE
#include "CLinuxShims.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

int CLinuxShims_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

void CLinuxShims_eventfd_signal(int fd) {
  const uint64_t one = 1;
  while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {
  }
}

void CLinuxShims_eventfd_clear(int fd) {
  uint64_t count;
  while (read(fd, &count, sizeof count) < 0 && errno == EINTR) {
  }
}

void CLinuxShims_set_thread_name(const char *name) {
  char shortened[16];
  strncpy(shortened, name, sizeof shortened - 1);
  shortened[sizeof shortened - 1] = 0;
  pthread_setname_np(pthread_self(), shortened);
}

int CLinuxShims_signal_when_parent_ends(int signal, int parent) {
  if (prctl(PR_SET_PDEATHSIG, signal) != 0) return -1;
  // It may have ended before the call; then this process has another parent by now.
  if (getppid() == parent) return 0;
  errno = ESRCH;
  return -1;
}

void CLinuxShims_release_freed_memory(unsigned long spare) {
  if (mallinfo2().fordblks > spare) malloc_trim(0);
}

void CLinuxShims_block_signals(void) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, NULL);
}
