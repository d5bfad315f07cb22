#define _GNU_SOURCE
#include "CLinuxShims.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
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

void CLinuxShims_wake_thread_in_time(void) { prctl(PR_SET_TIMERSLACK, 1UL); }

int CLinuxShims_signal_when_parent_ends(int signal, int parent) {
  if (prctl(PR_SET_PDEATHSIG, signal) != 0) return -1;
  // It may have ended before the call; then this process has another parent by now.
  if (getppid() == parent) return 0;
  errno = ESRCH;
  return -1;
}

void CLinuxShims_keep_freed_memory(void) {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
}

void CLinuxShims_release_freed_memory(unsigned long spare) {
  if (mallinfo2().fordblks > spare) malloc_trim(0);
}

void CLinuxShims_block_signals(void) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, NULL);
}

long CLinuxShims_limit_files(int process, long count) {
  struct rlimit before, after;
  if (prlimit(process, RLIMIT_NOFILE, NULL, &before) != 0) return -1;
  after = before;
  after.rlim_cur = count;
  if (prlimit(process, RLIMIT_NOFILE, &after, NULL) != 0) return -1;
  return before.rlim_cur;
}

int CLinuxShims_mount_memory(const char *path, const char *options) { return mount("weir", path, "tmpfs", MS_NOSUID | MS_NODEV, options); }

int CLinuxShims_remount(const char *path, int read_only) {
  return mount(NULL, path, NULL, MS_REMOUNT | MS_NOSUID | MS_NODEV | (read_only ? MS_RDONLY : 0), NULL);
}

int CLinuxShims_unmount(const char *path) { return umount2(path, MNT_DETACH); }
