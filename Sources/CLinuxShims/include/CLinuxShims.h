#ifndef C_LINUX_SHIMS_H
#define C_LINUX_SHIMS_H

// Glibc's module map leaves out <sys/eventfd.h> and hides the GNU extensions of <pthread.h>, so Swift cannot call these by itself.

/// A close-on-exec, non-blocking eventfd with count 0; -1 and errno on failure.
int CLinuxShims_eventfd(void);

/// Adds 1 to an eventfd's count.
void CLinuxShims_eventfd_signal(int fd);

/// Sets an eventfd's count to 0.
void CLinuxShims_eventfd_clear(int fd);

/// Has the kernel wake the calling thread at the time it asked for, and not up to 50 µs later. prctl is variadic, which Swift can't call.
void CLinuxShims_wake_thread_in_time(void);

/// Names the calling thread; the kernel keeps the first 15 bytes.
void CLinuxShims_set_thread_name(const char *name);

/// Has the kernel send `signal` to this process when the process `parent` ends; it stays so when the process becomes another program.
/// -1 and errno on failure: ESRCH if `parent` has ended already.
int CLinuxShims_signal_when_parent_ends(int signal, int parent);

/// From now on memory that was freed, of large pieces too, stays with the C library, which hands it out again without a page fault.
/// `CLinuxShims_release_freed_memory` gives it back all the same.
void CLinuxShims_keep_freed_memory(void);

/// Gives memory that was freed back to the kernel, if it is more than `spare` bytes: what a burst took stays with the C library otherwise.
void CLinuxShims_release_freed_memory(unsigned long spare);

/// Blocks every signal in the calling thread, so that signals reach the threads that handle them.
void CLinuxShims_block_signals(void);

/// Sets the most file descriptors that a process may have, and returns what that was; -1 and errno on failure.
long CLinuxShims_limit_files(int process, long count);

/// Makes a small file system in memory and puts it at `path`. -1 and errno on failure: EPERM for those who may not.
int CLinuxShims_mount_memory(const char *path, const char *options);

/// Makes the file system at `path` read-only, or writable again. -1 and errno on failure: EBUSY while a file is open for writing.
int CLinuxShims_remount(const char *path, int read_only);

int CLinuxShims_unmount(const char *path);

// MARK: Networks

/// Puts the calling thread into a new network namespace, which has nothing but a loopback device, and returns a descriptor of it; the namespace
/// ends with the descriptor and whoever is in it. -1 and errno on failure: EPERM for those who may not.
int CLinuxShims_enter_new_network(void);

/// Switches on the loopback device of the network namespace that the calling thread is in. -1 and errno on failure.
int CLinuxShims_raise_loopback(void);

/// Makes a point-to-point device there, whose packets are read from and written to the descriptor that is returned, one at a time and without
/// waiting. It ends with the descriptor. -1 and errno on failure.
int CLinuxShims_make_tunnel(const char *own_address, const char *peer_address, int mtu);

struct pollfd;

/// As poll(2), but the time, which may not be negative, is in nanoseconds.
int CLinuxShims_poll(struct pollfd *descriptors, unsigned long count, long nanoseconds);

// MARK: Tracing

/// Why a traced thread stands still, or what became of it.
enum CLinuxShims_stop_reason {
  /// It is about to make a system call; its arguments can be seen.
  CLINUXSHIMS_CALL,
  /// It has made one.
  CLINUXSHIMS_RETURN,
  /// A signal is about to reach it.
  CLINUXSHIMS_SIGNAL,
  /// It stopped for a reason of tracing.
  CLINUXSHIMS_OTHER,
  /// It is gone, or will be.
  CLINUXSHIMS_ENDED,
  /// Nobody is traced any more.
  CLINUXSHIMS_NOBODY,
};

struct CLinuxShims_stop {
  enum CLinuxShims_stop_reason reason;
  int thread;
  /// With `CLINUXSHIMS_SIGNAL`.
  int signal;
  /// With `CLINUXSHIMS_CALL`.
  long call;
  unsigned long arguments[6];
};

/// Begins to trace a thread and the threads that it will start, and stops it. -1 and errno on failure.
int CLinuxShims_trace(int thread);

/// Waits for the next stop of a traced thread.
struct CLinuxShims_stop CLinuxShims_trace_wait(void);

/// Lets a stopped thread go on to its next system call or the end of this one; a signal that is not 0 reaches it.
void CLinuxShims_trace_resume(int thread, int signal);

/// Of a thread that stands before a system call: the call is not made and fails with this error. -1 and errno on failure.
int CLinuxShims_trace_refuse(int thread, int error);

/// The numbers of the system calls that change files, bring them to the disk, and send.
extern const long CLinuxShims_pwrite_call, CLinuxShims_truncate_call, CLinuxShims_sync_calls[2], CLinuxShims_send_calls[2];

#endif
