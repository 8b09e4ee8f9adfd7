package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// input is what somebody types, or what is piped in.
type input struct {
	lines *bufio.Reader
	// prompt is where questions go: not to the output, which may be piped on.
	prompt  io.Writer
	isTyped bool
}

func newInput(cmd *cobra.Command) *input {
	in := cmd.InOrStdin()
	file, ok := in.(*os.File)
	if ok {
		info, err := file.Stat()
		ok = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return &input{lines: bufio.NewReader(io.LimitReader(in, maxInput)), prompt: cmd.ErrOrStderr(), isTyped: ok}
}

// maxInput bounds what is read, in bytes.
const maxInput = 4 << 10

// line returns the next line, without the blanks around it. It asks for it where
// somebody types.
func (in *input) line(question string) (string, error) {
	if in.isTyped {
		fmt.Fprint(in.prompt, question)
	}
	text, err := in.lines.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimSpace(text), nil
}

// number returns the number that flag announces. Only "-" is accepted, and the error
// does not repeat anything else.
func (in *input) number(flag string) (string, error) {
	if flag != "-" {
		return "", errors.New("a number on the command line can be read by everybody on this machine (ps shows it), and stays in the shell's history: write --number - and type the number when you are asked, or pipe it in")
	}
	typed, err := in.line("Number, like +33 6 39 98 00 01: ")
	if err != nil {
		return "", err
	}
	if typed == "" {
		return "", errors.New("no number came from standard input")
	}
	return compact(typed), nil
}

// compact returns a number that begins with + without what people write between digits.
// Any other is left to the gate, which knows the country in which it is read.
func compact(typed string) string {
	if !strings.HasPrefix(typed, "+") {
		return typed
	}
	return strings.NewReplacer(" ", "", "\u00a0", "", "\u202f", "", ".", "", "-", "", "(", "", ")", "", "/", "").Replace(typed)
}

var errNotConfirmed = errors.New("nothing was done: it was not confirmed")

// confirm asks whether to go on, and returns an error unless the answer is yes. Where
// nobody can answer, only the flag --yes can.
func (in *input) confirm(consequence string) error {
	if !in.isTyped {
		return errors.New(consequence + " Nobody can be asked here whether to go on: add --yes if that is meant")
	}
	answer, err := in.line(consequence + " Type yes to go on: ")
	if err != nil {
		return err
	}
	if !strings.EqualFold(answer, "yes") {
		return errNotConfirmed
	}
	return nil
}
