/* The load of `make bench`: clients and target of tunnels, timed. No dependency but libc; Linux.
 *
 *   load target                                   a service that looks like TLS 1.3; prints its port
 *   load relay PROXY_PORT                         a relay of one hop in the kernel: CONNECT, splice; prints its port
 *   load delay PORT MS                            a relay that adds MS of delay each way; prints its port
 *   load setup PROXY TARGET COUNT AT_ONCE         set-ups: p50, p99 in ms and set-ups/s
 *   load bulk PROXY TARGET down|up TUNNELS MIB    GiB/s; with `plain` behind it, bytes that are no TLS
 *   load idle PROXY TARGET COUNT                  holds tunnels until standard input ends
 *
 * PROXY and TARGET are ports on 127.0.0.1; PROXY 0 means directly. Results are one JSON object on standard output.
 * After the hellos a client says in one record what it wants: `D n` n pieces down, `U n` it sends n pieces. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { RECORD = 16384, RECORDS = 64, PIECE = (RECORD + 5) * RECORDS, EVENTS = 256, PIPE = 1 << 20, ORDER = 32 };

static const unsigned char CLIENT_HELLO[] = {
    22, 3, 3, 0, 47, 1, 0, 0, 43, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 19, 1, 1, 0, 0, 0};
/* ServerHello with supported_versions = TLS 1.3, then a record of application data. */
static const unsigned char SERVER_HELLO[] = {
    22, 3, 3, 0, 50, 2, 0, 0, 46, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 0, 19, 1, 0, 0, 6, 0, 43, 0, 2, 3, 4,
    23, 3, 3, 0, 8, 'f', 'i', 'n', 'i', 's', 'h', 'e', 'd'};

static unsigned char piece[PIECE];
static int is_plain;

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void no_delay(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static struct sockaddr_in place(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static int listen_and_tell(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in a = place(0);
    socklen_t size = sizeof a;
    if (fd < 0 || bind(fd, (void *)&a, size) || listen(fd, 4096) || getsockname(fd, (void *)&a, &size)) die("listen");
    no_delay(fd); /* inherited by what is accepted */
    printf("%d\n", ntohs(a.sin_port));
    fflush(stdout);
    return fd;
}

static void fill_piece(void) {
    for (int i = 0; i < RECORDS; i++) {
        unsigned char *record = piece + i * (RECORD + 5);
        memcpy(record, "\x17\x03\x03\x40\x00", 5);
        for (int j = 0; j < RECORD; j++) record[5 + j] = (unsigned char)(i * 131 + j * 7);
    }
}

static int send_all(int fd, const void *data, size_t size) {
    for (const char *at = data; size;) {
        ssize_t n = send(fd, at, size, MSG_NOSIGNAL);
        if (n <= 0) return -1;
        at += n, size -= n;
    }
    return 0;
}

static int read_all(int fd, void *data, size_t size) {
    for (char *at = data; size;) {
        ssize_t n = recv(fd, at, size, 0);
        if (n <= 0) return -1;
        at += n, size -= n;
    }
    return 0;
}

static void blocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK); }

static void run_thread(void *(*work)(void *), void *argument) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 128 * 1024);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attributes, work, argument)) die("thread");
}

/* ---- target ---- */

static void *serve_bulk(void *argument) {
    int fd = (int)(long)argument;
    char word[64] = {0};
    static __thread unsigned char *buffer;
    buffer = malloc(PIECE);
    blocking(fd);
    ssize_t n = read_all(fd, word, ORDER);
    char *at = word + (word[0] == 23 ? 5 : 0);
    long count = n ? 0 : atol(at + 2);
    if (*at == 'D')
        while (count-- && !send_all(fd, piece, PIECE)) {}
    if (*at == 'U') {
        long left = count * PIECE;
        while (left > 0 && (n = recv(fd, buffer, PIECE, 0)) > 0) left -= n;
        if (left <= 0) send_all(fd, "\x17\x03\x03\x00\x01k", 6);
    }
    if (*at != 'I') shutdown(fd, SHUT_WR);
    while (recv(fd, buffer, PIECE, 0) > 0) {}
    free(buffer);
    close(fd);
    return NULL;
}

static void target(void) {
    int listening = listen_and_tell(), set = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listening}, events[EVENTS];
    static char *has_greeted;
    has_greeted = calloc(1 << 20, 1);
    epoll_ctl(set, EPOLL_CTL_ADD, listening, &event);
    for (;;) {
        int many = epoll_wait(set, events, EVENTS, -1);
        for (int i = 0; i < many; i++) {
            int fd = events[i].data.fd;
            if (fd == listening) {
                while ((fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    has_greeted[fd] = 0;
                    event.events = EPOLLIN, event.data.fd = fd;
                    epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
                }
                continue;
            }
            char hello[sizeof CLIENT_HELLO];
            if (has_greeted[fd]) {
                if (recv(fd, hello, 1, MSG_PEEK) <= 0) {
                    close(fd);
                } else {
                    epoll_ctl(set, EPOLL_CTL_DEL, fd, NULL);
                    run_thread(serve_bulk, (void *)(long)fd);
                }
            } else if (recv(fd, hello, sizeof hello, 0) < (ssize_t)sizeof hello) {
                close(fd); /* on loopback such a small message comes whole */
            } else {
                has_greeted[fd] = 1;
                /* A client that doesn't begin like TLS gets no TLS back. */
                char plain[sizeof SERVER_HELLO] = "SSH-2.0-plain";
                send_all(fd, hello[0] == 22 ? (const void *)SERVER_HELLO : plain, sizeof SERVER_HELLO);
            }
        }
    }
}

/* ---- clients ---- */

static int proxy_port, target_port;

static int connect_way(int flags) {
    int fd = socket(AF_INET, SOCK_STREAM | flags, 0);
    struct sockaddr_in a = place(proxy_port ? proxy_port : target_port);
    if (fd < 0) die("socket");
    no_delay(fd);
    if (connect(fd, (void *)&a, sizeof a) && errno != EINPROGRESS) die("connect");
    return fd;
}

static size_t format_request(char *request) {
    return sprintf(request, "CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", target_port, target_port);
}

static void greet(int fd) {
    unsigned char got[sizeof SERVER_HELLO], hello[sizeof CLIENT_HELLO];
    memcpy(hello, CLIENT_HELLO, sizeof hello);
    if (is_plain) memcpy(hello, "SSH-2.0", 7);
    if (send_all(fd, hello, sizeof hello) || read_all(fd, got, sizeof got)) die("greeting");
}

static int open_tunnel(void) {
    char request[256], head[4096];
    int fd = connect_way(0);
    if (proxy_port) {
        size_t have = 0;
        if (send_all(fd, request, format_request(request))) die("send CONNECT");
        while (have < 4 || memcmp(head + have - 4, "\r\n\r\n", 4)) {
            if (have == sizeof head || recv(fd, head + have, 1, 0) != 1) die("no answer to CONNECT");
            have++;
        }
        if (memcmp(head + 9, "200", 3)) {
            fprintf(stderr, "load: %.*s\n", (int)have, head);
            exit(1);
        }
    }
    greet(fd);
    return fd;
}

struct bulk_work {
    int fd, is_down;
    long pieces;
};

static void *carry(void *argument) {
    struct bulk_work *work = argument;
    char order[ORDER] = {0};
    sprintf(order + (is_plain ? 0 : 5), "%c %ld", work->is_down ? 'D' : 'U', work->pieces);
    if (!is_plain) memcpy(order, "\x17\x03\x03\x00\x1b", 5);
    if (send_all(work->fd, order, ORDER)) die("order");
    if (work->is_down) {
        unsigned char *buffer = malloc(PIECE);
        long left = work->pieces * PIECE, at = 0;
        while (left > 0) {
            ssize_t n = recv(work->fd, buffer, left < PIECE ? left : PIECE, 0);
            if (n <= 0) die("the tunnel ended early");
            /* Samples show bytes that are lost, doubled or in the wrong place. */
            if (buffer[0] != piece[at % PIECE] || buffer[n - 1] != piece[(at + n - 1) % PIECE]) die("wrong bytes");
            left -= n, at += n;
        }
        free(buffer);
    } else {
        char done[6];
        for (long i = 0; i < work->pieces; i++)
            if (send_all(work->fd, piece, PIECE)) die("the tunnel ended early");
        if (read_all(work->fd, done, 6)) die("no receipt");
    }
    return NULL;
}

static void bulk(int is_down, int tunnels, long pieces) {
    struct bulk_work work[tunnels];
    pthread_t threads[tunnels];
    for (int i = 0; i < tunnels; i++) work[i] = (struct bulk_work){open_tunnel(), is_down, pieces};
    double begun = now();
    for (int i = 0; i < tunnels; i++) pthread_create(&threads[i], NULL, carry, &work[i]);
    for (int i = 0; i < tunnels; i++) pthread_join(threads[i], NULL);
    printf("{\"gib_per_second\": %.4f}\n", (double)tunnels * pieces * PIECE / (1 << 30) / (now() - begun));
}

static void idle(int count) {
    /* A record of application data each way, as after a handshake: then the session is seen to be TLS 1.3. */
    char finished[ORDER] = {23, 3, 3, 0, ORDER - 5, 'I'};
    for (int i = 0; i < count; i++) if (send_all(open_tunnel(), finished, ORDER)) die("finished");
    printf("{\"open\": %d}\n", count);
    fflush(stdout);
    char byte;
    while (read(0, &byte, 1) > 0) {}
}

struct client {
    int fd, step;
    size_t have;
    double begun;
};

static int by_value(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static void begin(struct client *client, int set) {
    client->begun = now();
    client->fd = connect_way(SOCK_NONBLOCK);
    client->step = 0, client->have = 0;
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = client};
    epoll_ctl(set, EPOLL_CTL_ADD, client->fd, &event);
}

/* One step of a set-up; says whether the target's first bytes have come. */
static int advance(struct client *client, int set) {
    char data[4096];
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (client->step == 0) {
        epoll_ctl(set, EPOLL_CTL_MOD, client->fd, &event);
        client->step = proxy_port ? 1 : 2;
        if (proxy_port ? send_all(client->fd, data, format_request(data))
                       : send_all(client->fd, CLIENT_HELLO, sizeof CLIENT_HELLO))
            die("send");
        return 0;
    }
    ssize_t n = recv(client->fd, data, sizeof data, 0);
    if (n < 0 && errno == EAGAIN) return 0;
    if (n <= 0) die("the set-up was cut");
    client->have += n;
    if (client->step == 1) {
        if (n < 4 || memcmp(data + n - 4, "\r\n\r\n", 4)) return 0;
        if (!memmem(data, n, " 200 ", 5)) fprintf(stderr, "load: %.*s\n", (int)n, data), exit(1);
        client->step = 2, client->have = 0;
        if (send_all(client->fd, CLIENT_HELLO, sizeof CLIENT_HELLO)) die("send hello");
        return 0;
    }
    return client->have >= sizeof SERVER_HELLO;
}

static void set_up(int count, int at_once) {
    int set = epoll_create1(0), started = 0, done = 0;
    struct client clients[at_once];
    double *times = calloc(count, sizeof *times), begun = now();
    for (int i = 0; i < at_once && started < count; i++, started++) begin(&clients[i], set);
    while (done < count) {
        struct epoll_event events[EVENTS];
        int many = epoll_wait(set, events, EVENTS, 20000);
        if (many <= 0) die("nothing happens");
        for (int i = 0; i < many; i++) {
            struct client *client = events[i].data.ptr;
            if (!advance(client, set)) continue;
            times[done++] = now() - client->begun;
            close(client->fd);
            if (started < count) started++, begin(client, set);
        }
    }
    double spent = now() - begun;
    qsort(times, count, sizeof *times, by_value);
    printf("{\"p50\": %.4f, \"p99\": %.4f, \"rate\": %.1f}\n", times[count / 2] * 1e3, times[count * 99 / 100] * 1e3,
           count / spent);
}

/* ---- one hop of a relay in the kernel: the limit ---- */

struct side {
    int from, to;
};

static void *splice_all(void *argument) {
    struct side side = *(struct side *)argument;
    int pipes[2];
    ssize_t n;
    if (pipe2(pipes, O_CLOEXEC)) die("pipe");
    fcntl(pipes[1], F_SETPIPE_SZ, PIPE);
    while ((n = splice(side.from, NULL, pipes[1], NULL, PIPE, SPLICE_F_MOVE)) > 0)
        while (n > 0) {
            ssize_t out = splice(pipes[0], NULL, side.to, NULL, n, SPLICE_F_MOVE);
            if (out <= 0) goto end;
            n -= out;
        }
end:
    shutdown(side.to, SHUT_WR);
    close(pipes[0]), close(pipes[1]);
    return NULL;
}

/* Carries one tunnel: up to the hop before the target the CONNECT is passed on, the last hop answers it. */
static void *relay_one(void *argument) {
    int client = (int)(long)argument;
    char head[4096];
    size_t have = 0;
    ssize_t n;
    while (have < 4 || memcmp(head + have - 4, "\r\n\r\n", 4)) {
        if ((n = recv(client, head + have, sizeof head - have, 0)) <= 0) goto gone;
        have += n;
    }
    char *colon = memchr(head, ':', have);
    int port = proxy_port ? proxy_port : atoi(colon + 1);
    int onward = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = place(port);
    no_delay(onward);
    if (connect(onward, (void *)&a, sizeof a)) goto gone;
    if (proxy_port ? send_all(onward, head, have) : send_all(client, "HTTP/1.1 200 OK\r\n\r\n", 19)) goto gone;
    struct side up = {client, onward}, down = {onward, client};
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    pthread_create(&thread, &attributes, splice_all, &up);
    splice_all(&down);
    pthread_join(thread, NULL);
    close(onward);
gone:
    close(client);
    return NULL;
}

static void relay(void) {
    int listening = listen_and_tell(), fd;
    blocking(listening);
    while ((fd = accept(listening, NULL, NULL)) >= 0) run_thread(relay_one, (void *)(long)fd);
}

/* ---- a relay that delays ---- */

static double delay_seconds;
enum { SLOTS = 4096, SLOT = 65536 };

struct late {
    double due;
    int size;
    char *data;
};

struct line {
    int from, to, head, tail, ended;
    struct late slots[SLOTS];
    pthread_mutex_t lock;
    pthread_cond_t news;
};

static void *deliver(void *argument) {
    struct line *line = argument;
    for (;;) {
        pthread_mutex_lock(&line->lock);
        while (line->head == line->tail && !line->ended) pthread_cond_wait(&line->news, &line->lock);
        int is_empty = line->head == line->tail;
        struct late late = line->slots[line->head % SLOTS];
        pthread_mutex_unlock(&line->lock);
        if (is_empty) break;
        double left = late.due - now();
        if (left > 0) usleep(left * 1e6);
        if (late.size == 0 || send_all(line->to, late.data, late.size)) {
            shutdown(line->to, SHUT_WR);
        }
        free(late.data);
        pthread_mutex_lock(&line->lock);
        line->head++;
        pthread_cond_signal(&line->news);
        pthread_mutex_unlock(&line->lock);
    }
    return NULL;
}

static void *delay_line(void *argument) {
    struct line *line = calloc(1, sizeof *line);
    struct side *side = argument;
    line->from = side->from, line->to = side->to;
    pthread_mutex_init(&line->lock, NULL), pthread_cond_init(&line->news, NULL);
    pthread_t thread;
    pthread_create(&thread, NULL, deliver, line);
    for (ssize_t n = 1; n > 0;) {
        char *data = malloc(SLOT);
        n = recv(line->from, data, SLOT, 0);
        pthread_mutex_lock(&line->lock);
        while (line->tail - line->head == SLOTS) pthread_cond_wait(&line->news, &line->lock);
        line->slots[line->tail++ % SLOTS] = (struct late){now() + delay_seconds, n > 0 ? n : 0, data};
        line->ended = n <= 0;
        pthread_cond_signal(&line->news);
        pthread_mutex_unlock(&line->lock);
    }
    pthread_join(thread, NULL);
    free(line);
    return NULL;
}

static void *delay_one(void *argument) {
    int client = (int)(long)argument, onward = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = place(proxy_port);
    no_delay(onward);
    if (!connect(onward, (void *)&a, sizeof a)) {
        struct side up = {client, onward}, down = {onward, client};
        pthread_t thread;
        pthread_create(&thread, NULL, delay_line, &up);
        delay_line(&down);
        pthread_join(thread, NULL);
    }
    close(onward), close(client);
    return NULL;
}

static void delay(void) {
    int listening = listen_and_tell(), fd;
    blocking(listening);
    while ((fd = accept(listening, NULL, NULL)) >= 0) run_thread(delay_one, (void *)(long)fd);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files), files.rlim_cur = files.rlim_max, setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    fill_piece();
    if (argc > 2) proxy_port = atoi(argv[2]);
    if (argc > 3) target_port = atoi(argv[3]);
    is_plain = !strcmp(argv[argc - 1], "plain");
    if (!strcmp(what, "target")) target();
    else if (!strcmp(what, "relay") && argc == 3) relay();
    else if (!strcmp(what, "delay") && argc == 4) delay_seconds = atof(argv[3]) / 1e3, delay();
    else if (!strcmp(what, "setup") && argc == 6) set_up(atoi(argv[4]), atoi(argv[5]));
    else if (!strcmp(what, "bulk") && argc >= 7) bulk(argv[4][0] == 'd', atoi(argv[5]), atol(argv[6]));
    else if (!strcmp(what, "idle") && argc == 5) idle(atoi(argv[4]));
    else return fprintf(stderr, "load: see the head of load.c\n"), 2;
    return 0;
}
