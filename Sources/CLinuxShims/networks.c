#define _GNU_SOURCE
#include "CLinuxShims.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static const int queued_packets = 4000;

// Closes a descriptor after a failure, whose errno stays.
static int give_up(int descriptor) {
  const int error = errno;
  close(descriptor);
  errno = error;
  return -1;
}

int CLinuxShims_enter_new_network(void) {
  if (unshare(CLONE_NEWNET) != 0) return -1;
  return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

static int raise_device(int control, struct ifreq *device) {
  if (ioctl(control, SIOCGIFFLAGS, device) != 0) return -1;
  device->ifr_flags |= IFF_UP | IFF_RUNNING;
  return ioctl(control, SIOCSIFFLAGS, device);
}

int CLinuxShims_raise_loopback(void) {
  struct ifreq device;
  memset(&device, 0, sizeof device);
  strcpy(device.ifr_name, "lo");
  const int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (control < 0) return -1;
  if (raise_device(control, &device) != 0) return give_up(control);
  close(control);
  return 0;
}

static int set_address(int control, struct ifreq *device, unsigned long request, const char *address) {
  struct sockaddr_in value;
  memset(&value, 0, sizeof value);
  value.sin_family = AF_INET;
  if (inet_pton(AF_INET, address, &value.sin_addr) != 1) {
    errno = EINVAL;
    return -1;
  }
  memcpy(&device->ifr_addr, &value, sizeof value);
  return ioctl(control, request, device);
}

int CLinuxShims_make_tunnel(const char *own_address, const char *peer_address, int mtu) {
  const int tunnel = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (tunnel < 0) return -1;
  struct ifreq device;
  memset(&device, 0, sizeof device);
  strcpy(device.ifr_name, "weir%d");
  device.ifr_flags = IFF_TUN | IFF_NO_PI;
  if (ioctl(tunnel, TUNSETIFF, &device) != 0) return give_up(tunnel);
  const int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (control < 0) return give_up(tunnel);
  device.ifr_mtu = mtu;
  int status = ioctl(control, SIOCSIFMTU, &device);
  device.ifr_qlen = queued_packets;
  if (status == 0) status = ioctl(control, SIOCSIFTXQLEN, &device);
  if (status == 0) status = set_address(control, &device, SIOCSIFADDR, own_address);
  if (status == 0) status = set_address(control, &device, SIOCSIFDSTADDR, peer_address);
  if (status == 0) status = raise_device(control, &device);
  if (status != 0) {
    give_up(control);
    return give_up(tunnel);
  }
  close(control);
  return tunnel;
}

int CLinuxShims_poll(struct pollfd *descriptors, unsigned long count, long nanoseconds) {
  const struct timespec time = {nanoseconds / 1000000000, nanoseconds % 1000000000};
  return ppoll(descriptors, count, &time, NULL);
}
