// The guest's first process: runs /command, sends its output and then its exit status to the second
// serial port, and ends the emulation.

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { kArguments = 1024 };

static void use_serial_port(void) {
  const int port = open("/dev/ttyS1", O_RDWR | O_NOCTTY);
  struct termios settings;
  tcgetattr(port, &settings);
  cfmakeraw(&settings);
  tcsetattr(port, TCSANOW, &settings);
  dup2(port, STDOUT_FILENO);
  dup2(port, STDERR_FILENO);
}

// /command: strings, each with its NUL. The folder, the environment, an empty one, the arguments.
static void run_command(void) {
  static char text[1 << 20];
  static char* arguments[kArguments + 1];
  const int file = open("/command", O_RDONLY);
  const char* const end = text + read(file, text, sizeof(text) - 1);
  close(file);
  clearenv();
  char* at = text;
  if (chdir(at) != 0) perror(at);
  for (at += strlen(at) + 1; *at != '\0'; at += strlen(at) + 1) putenv(at);
  ++at;
  for (int i = 0; i < kArguments && at < end; ++i, at += strlen(at) + 1) arguments[i] = at;
  execv(arguments[0], arguments);
  perror(arguments[0]);
  _exit(127);
}

int main(void) {
  mkdir("/dev", 0755);
  mkdir("/proc", 0755);
  mkdir("/sys", 0755);
  mkdir("/tmp", 0777);
  mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
  mount("proc", "/proc", "proc", 0, NULL);
  mount("sysfs", "/sys", "sysfs", 0, NULL);
  use_serial_port();

  const pid_t child = fork();
  if (child == 0) run_command();
  int status = 0;
  while (wait(&status) != child) {
  }
  if (WIFSIGNALED(status)) printf("%s\n", strsignal(WTERMSIG(status)));
  printf("\036%d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  fflush(stdout);
  tcdrain(STDOUT_FILENO);

  ioperm(0x8900, 1, 1);  // Bochs ends when it reads this word at this port
  for (const char* letter = "Shutdown"; *letter != '\0'; ++letter) outb(*letter, 0x8900);
  for (;;) pause();
}
