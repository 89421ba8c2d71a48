package boulder

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// installDatabase makes the files of an empty MariaDB.
func (l *Lab) installDatabase() error {
	cmd := exec.Command("mariadb-install-db", "--no-defaults", "--user=root", "--datadir="+l.path("mysql/data"),
		"--auth-root-authentication-method=normal", "--skip-test-db")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running mariadb-install-db (apt-get install mariadb-server): %w\n%s", err, out)
	}
	return nil
}

// fillDatabase runs Boulder's schema, unless it is there.
func (l *Lab) fillDatabase(ctx context.Context) error {
	if _, err := os.Stat(l.path("mysql/data/boulder_sa")); err == nil {
		return nil
	}
	for _, file := range []string{"00-create-databases", "01-boulder_sa", "01-incidents_sa", "01-mtcmeta_44947_4_1_0_3", "02-users"} {
		schema, err := os.ReadFile(l.programs.source + "/sa/db/" + file + ".sql")
		if err != nil {
			return err
		}
		// A table for ProxySQL's monitor is not in the schema.
		statements := strings.ReplaceAll(string(schema), "GRANT ALL PRIVILEGES ON monitor TO 'proxysql'@'%';", "")
		if _, err := l.mariadb(ctx, statements); err != nil {
			return fmt.Errorf("creating the database by %s.sql: %w", file, err)
		}
	}
	return nil
}

// Query runs a statement in Boulder's main database and returns the rows of its result.
func (l *Lab) Query(ctx context.Context, statement string) ([][]string, error) {
	out, err := l.mariadb(ctx, "USE boulder_sa;\n"+statement)
	if err != nil {
		return nil, fmt.Errorf("querying Boulder's database: %w", err)
	}
	var rows [][]string
	for line := range strings.Lines(out) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return rows, nil
}

// mariadb runs statements and returns the results, a line for a row with tabs between columns.
func (l *Lab) mariadb(ctx context.Context, statements string) (string, error) {
	cmd := exec.CommandContext(ctx, "mariadb", "--no-defaults", "-u", "root", "-S", l.path("mysql/socket"), "--batch", "--skip-column-names")
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(statements), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}
