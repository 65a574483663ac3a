// Command bench measures Spate side by side with the NBD servers of Debian (nbdkit, nbd-server, qemu-nbd) on the
// same images in one run, and says whether the ratios that the project promises hold.
//
//	make bench                                  everything
//	go run ./cmd/internal/bench -list           the groups of rows
//	go run ./cmd/internal/bench -only loopback  one group
//
// Contenders take turns, round by round, and each begins its round with a pass that is not counted, because a
// machine may take its page cache away in between; where a pass would take too long or would not be a first touch any
// more, the file that the server reads is brought into the page cache instead. All servers run at the niceness that
// spated gives itself; all clients at that of any program. A row shows medians over the rounds; the spread is the
// distance between best and worst, relative to the median. Only ratios have bounds: absolute figures say more
// about the machine than about the program.
//
// The processor time of a server is read from /proc before and after each counted pass and summed. Bytes on the
// wire are counted by the network interface, in packets as they would leave a real card.
//
// The benchmark needs root for its network namespaces, the programs in build/, and the Debian packages listed in
// .ci/packages. It ends every process that it started and removes its namespaces; its images stay in build/bench.
package main
