#define _GNU_SOURCE
#include "CLinuxShims.h"

#include <elf.h>
#include <errno.h>
#include <linux/ptrace.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

// <sys/ptrace.h> and <linux/ptrace.h> cannot both be included.
extern long ptrace(int request, ...);

const long CLinuxShims_pwrite_call = SYS_pwrite64;
const long CLinuxShims_truncate_call = SYS_ftruncate;
const long CLinuxShims_sync_calls[2] = {SYS_fdatasync, SYS_fsync};
const long CLinuxShims_send_calls[2] = {SYS_sendto, SYS_sendmsg};

int CLinuxShims_trace(int thread) {
  const uintptr_t options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE;
  if (ptrace(PTRACE_SEIZE, thread, NULL, options) != 0) return -1;
  return (int)ptrace(PTRACE_INTERRUPT, thread, NULL, NULL);
}

static void look_at_call(struct CLinuxShims_stop *stop) {
  struct ptrace_syscall_info info;
  memset(&info, 0, sizeof info);
  if (ptrace(PTRACE_GET_SYSCALL_INFO, stop->thread, sizeof info, &info) <= 0) return;
  if (info.op == PTRACE_SYSCALL_INFO_EXIT) stop->reason = CLINUXSHIMS_RETURN;
  if (info.op != PTRACE_SYSCALL_INFO_ENTRY) return;
  stop->reason = CLINUXSHIMS_CALL;
  stop->call = (long)info.entry.nr;
  for (int index = 0; index < 6; index++) stop->arguments[index] = info.entry.args[index];
}

struct CLinuxShims_stop CLinuxShims_trace_wait(void) {
  struct CLinuxShims_stop stop;
  memset(&stop, 0, sizeof stop);
  int status;
  do {
    stop.thread = waitpid(-1, &status, __WALL);
  } while (stop.thread < 0 && errno == EINTR);
  if (stop.thread < 0) {
    stop.reason = CLINUXSHIMS_NOBODY;
  } else if (!WIFSTOPPED(status)) {
    stop.reason = CLINUXSHIMS_ENDED;
  } else {
    stop.reason = CLINUXSHIMS_OTHER;
    // The 0x80 is how TRACESYSGOOD marks a system call; what tracing itself causes has an event in the upper half.
    if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
      look_at_call(&stop);
    } else if (status >> 16 == 0) {
      stop.reason = CLINUXSHIMS_SIGNAL;
      stop.signal = WSTOPSIG(status);
    }
  }
  return stop;
}

void CLinuxShims_trace_resume(int thread, int signal) { ptrace(PTRACE_SYSCALL, thread, NULL, (uintptr_t)signal); }

// A call whose number is -1 is none, and what the register of its result holds is its result.
int CLinuxShims_trace_refuse(int thread, int error) {
  struct user_regs_struct registers;
  struct iovec set = {&registers, sizeof registers};
  if (ptrace(PTRACE_GETREGSET, thread, (uintptr_t)NT_PRSTATUS, &set) != 0) return -1;
#if defined(__x86_64__)
  registers.orig_rax = (unsigned long)-1;
  registers.rax = (unsigned long)-error;
#elif defined(__aarch64__)
  registers.regs[0] = (unsigned long)-error;
  int none = -1;
  struct iovec call = {&none, sizeof none};
  if (ptrace(PTRACE_SETREGSET, thread, (uintptr_t)NT_ARM_SYSTEM_CALL, &call) != 0) return -1;
#else
  errno = ENOTSUP;
  return -1;
#endif
  return (int)ptrace(PTRACE_SETREGSET, thread, (uintptr_t)NT_PRSTATUS, &set);
}
