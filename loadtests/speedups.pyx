# cython: language_level=3, embedsignature=False
"""The classes of ``hot`` for Cython: read, stamp and parse without leaving C where answers flow.

Strategy: a read goes into one buffer. A lane looks at it there; it makes Python objects of an event
only to let orjson parse it. All that is not of a lane's shape is handed on as bytes, as in ``hot``.

Rules. ``hot`` tells what everything means. What came from the target is looked at within its
length only: each ``memchr`` and ``memcmp`` stands behind a comparison with the end of the read.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, errno
from libc.string cimport memchr, memcmp, memcpy, memset

import os

import orjson

cdef extern from "<sys/socket.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
    struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type
    int MSG_DONTWAIT
    int SOL_SOCKET
    ssize_t recvmsg(int, msghdr *, int)
    cmsghdr *CMSG_FIRSTHDR(msghdr *)
    unsigned char *CMSG_DATA(cmsghdr *)
    size_t CMSG_LEN(size_t)

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        epoll_data_t data
    int epoll_wait(int, epoll_event *, int, int)

cdef extern from "<time.h>" nogil:
    struct timespec:
        long long tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int clock_gettime(int, timespec *)

cdef enum:
    READ_BYTES = 65536
    MOST = 64  # connections read in one round
    TIMESTAMPNS = 35  # asm-generic/socket.h

cdef object loads = orjson.loads


cdef inline long long _now_ns() noexcept:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <long long>now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef inline int _digit(char c) noexcept:
    """Give what a hexadecimal digit stands for, or -1."""
    if c'0' <= c <= c'9':
        return c - c'0'
    if c'a' <= c <= c'f':
        return c - c'a' + 10
    if c'A' <= c <= c'F':
        return c - c'A' + 10
    return -1


cdef inline Py_ssize_t _size(const char *data, Py_ssize_t end, Py_ssize_t *place) noexcept:
    """Read a chunk's size line of up to seven digits at ``place``, and step behind it; else 0."""
    cdef Py_ssize_t size = 0, at = place[0]
    cdef int digit
    while at < end and at - place[0] < 7:
        digit = _digit(data[at])
        if digit < 0:
            break
        size = size * 16 + digit
        at += 1
    if end - at < 2 or data[at] != c'\r' or data[at + 1] != c'\n':
        return 0
    place[0] = at + 2
    return size


cdef class Lane:
    cdef object _event
    cdef list _stamps
    cdef list _said
    cdef Py_ssize_t _room
    cdef Py_ssize_t _passed
    cdef public bint content

    def __init__(self, event, list stamps not None, list said):
        self._event = event
        self._stamps = stamps
        self._said = said

    def open(self, Py_ssize_t room):
        self._room = room

    def shut(self):
        passed = self._passed
        self._room = self._passed = 0
        return passed

    def end(self):
        self._room = 0
        self._event = _nobody

    def take(self, bytes data not None, at_ns):
        return self._take(data, len(data), at_ns)

    cdef Py_ssize_t _take(self, const char *data, Py_ssize_t end, object at_ns) except -1:
        cdef Py_ssize_t place = 0, start, size, line, name, ends
        cdef const char *found
        while place < end:
            start = place
            size = _size(data, end, &start)
            # Within the read there must be the chunk and its CRLF; "data: ", and two line ends.
            if size < 8 or size > self._room or end - start < size + 2:
                break
            if data[start + size] != c'\r' or data[start + size + 1] != c'\n':
                break
            line, name = start, 0
            if memcmp(data + line, b"event: ", 7) == 0:
                found = <const char *>memchr(data + line, c'\n', size)
                if found == NULL:
                    break
                name = found - data - line
                line += name + 1
                if start + size - line < 8:
                    break
            if memcmp(data + line, b"data: ", 6):
                break
            found = <const char *>memchr(data + line, c'\n', start + size - line)
            if found == NULL:
                break
            ends = found - data  # of the data line
            if start + size - ends == 2 and data[ends + 1] == c'\n':
                pass
            elif (
                start + size - ends == 3
                and data[ends - 1] == c'\r'
                and data[ends + 1] == c'\r'
                and data[ends + 2] == c'\n'
            ):
                ends -= 1
            else:
                break
            if memchr(data + start, c'\r', ends - start) != NULL:
                break
            self._room -= size
            self._passed += size
            place = start + size + 2
            self._one(
                PyBytes_FromStringAndSize(data + start + 7, name - 7) if name else b"",
                PyBytes_FromStringAndSize(data + line + 6, ends - line - 6),
                at_ns,
            )
        return place

    cdef int _one(self, bytes name, bytes data, object at_ns) except -1:
        """Take one event: as one more piece of content, or else let it be taken."""
        cdef object chunk, part, text
        if self.content and not name:
            try:
                chunk = loads(data)
            except ValueError:
                chunk = None
            if type(chunk) is dict and _none(chunk, "usage") and _none(chunk, "error"):
                part = (<dict>chunk).get("choices")
                if type(part) is list and len(<list>part) == 1:
                    part = (<list>part)[0]
                    if type(part) is dict and _none(part, "finish_reason"):
                        part = (<dict>part).get("delta")
                        if type(part) is dict:
                            text = (<dict>part).get("content")
                            if type(text) is str and text:
                                if self._said is not None:
                                    self._said.append(text)
                                self._stamps.append(at_ns)
                                return 0
        self._event(name, data, at_ns)
        return 0


cdef inline bint _none(dict table, str name) except -1:
    """Tell that a member is absent or null."""
    return table.get(name) is None


cdef class Watched:
    cdef public long long active_ns
    cdef public Lane lane
    cdef int _fd

    def __cinit__(self):
        self._fd = -1

    def attach(self, sock):
        self._fd = sock.fileno()

    def received(self, data, at_ns):
        raise NotImplementedError

    def ended(self, at_ns, reset):
        raise NotImplementedError


cdef class Reads:
    cdef public long long offset_ns
    cdef readonly bint by_kernel
    cdef int _epoll
    cdef dict _watched
    cdef char[READ_BYTES] _buffer

    def __init__(self, epoll, dict watched not None):
        self._epoll = -1 if epoll is None else epoll.fileno()
        self._watched = watched

    def round(self):
        cdef epoll_event[MOST] ready
        cdef int count = epoll_wait(self._epoll, ready, MOST, 0), failed = errno, at
        if count < 0 and failed != EINTR:
            raise OSError(failed, os.strerror(failed))
        for at in range(count):
            self._read(self._watched[ready[at].data.fd])

    def read(self, Watched connection not None):
        self._read(connection)

    cdef int _read(self, Watched connection) except -1:
        cdef char[64] about
        cdef iovec into
        cdef msghdr message
        cdef cmsghdr *stamp
        cdef timespec wall
        cdef long long at_ns, came_ns
        cdef Py_ssize_t taken = 0
        cdef ssize_t size
        cdef int failed
        into.iov_base, into.iov_len = self._buffer, READ_BYTES
        memset(&message, 0, sizeof(message))
        message.msg_iov, message.msg_iovlen = &into, 1
        message.msg_control, message.msg_controllen = about, sizeof(about)
        size = recvmsg(connection._fd, &message, MSG_DONTWAIT)
        failed = errno  # before anything else can change it
        at_ns = _now_ns()
        if size < 0:
            if failed not in (EAGAIN, EINTR):
                connection.ended(at_ns, str(OSError(failed, os.strerror(failed))))
            return 0
        stamp = CMSG_FIRSTHDR(&message)
        if (
            stamp != NULL
            and stamp.cmsg_level == SOL_SOCKET
            and stamp.cmsg_type == TIMESTAMPNS
            and stamp.cmsg_len >= CMSG_LEN(sizeof(wall))
        ):
            memcpy(&wall, CMSG_DATA(stamp), sizeof(wall))
            came_ns = wall.tv_sec * 1_000_000_000 + wall.tv_nsec - self.offset_ns
            if connection.active_ns < came_ns < at_ns:
                at_ns = came_ns
                self.by_kernel = True
        at = at_ns
        if connection.lane is not None and connection.lane._room and size:
            taken = connection.lane._take(self._buffer, size, at)
            if taken:
                connection.active_ns = at_ns
                if taken == size:
                    return 0
        connection.received(PyBytes_FromStringAndSize(self._buffer + taken, size - taken), at)
        return 0


def _nobody(name, data, at_ns):
    """Take an event after the end: there is none."""
