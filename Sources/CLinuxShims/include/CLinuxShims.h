#ifndef C_LINUX_SHIMS_H
#define C_LINUX_SHIMS_H

// Glibc's module map leaves out <sys/eventfd.h> and hides the GNU extensions of <pthread.h>, so Swift cannot call these by itself.

/// A close-on-exec, non-blocking eventfd with count 0; -1 and errno on failure.
int CLinuxShims_eventfd(void);

/// Adds 1 to an eventfd's count.
void CLinuxShims_eventfd_signal(int fd);

/// Sets an eventfd's count to 0.
void CLinuxShims_eventfd_clear(int fd);

/// Names the calling thread; the kernel keeps the first 15 bytes.
void CLinuxShims_set_thread_name(const char *name);

/// Has the kernel send `signal` to this process when the process `parent` ends; it stays so when the process becomes another program.
/// -1 and errno on failure: ESRCH if `parent` has ended already.
int CLinuxShims_signal_when_parent_ends(int signal, int parent);

/// Gives memory that was freed back to the kernel, if it is more than `spare` bytes: what a burst took stays with the C library otherwise.
void CLinuxShims_release_freed_memory(unsigned long spare);

/// Blocks every signal in the calling thread, so that signals reach the threads that handle them.
void CLinuxShims_block_signals(void);

#endif
