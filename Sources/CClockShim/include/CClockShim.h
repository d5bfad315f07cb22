#ifndef C_CLOCK_SHIM_H
#define C_CLOCK_SHIM_H

// Preloaded into a program (LD_PRELOAD), this library moves its wall clock, and no other clock: by the number of seconds that the first eight
// bytes of the file WEIR_CLOCK_FILE hold, as a signed integer of this machine. The file may change at any time.

#endif
