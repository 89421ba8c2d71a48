package daemon

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"acmed/internal/control"
)

// Delete implements control.Disposals. What a spec asks for is not deleted: acmed would order it anew.
func (a api) Delete(_ context.Context, req control.DeleteRequest) (control.DeleteResult, error) {
	settings := a.d.specs.settings()
	file := filepath.Join(settings.SpecDir, req.Name+".yaml")
	if want := a.d.specs.set().Certificate(req.Name); want != nil {
		return control.DeleteResult{}, &control.Error{Code: control.Conflict, Message: req.Name + " is wanted by " + want.File,
			Hint: "remove that file first, and acmed reload"}
	}
	if p := a.d.specs.bad()[req.Name]; p != nil {
		return control.DeleteResult{}, &control.Error{Code: control.Conflict, Message: "there is a file for it, which is bad: " + p.Error(),
			Hint: "remove " + file + " first, and acmed reload"}
	}
	if _, err := os.Lstat(file); err == nil { // it is too new to be read, or its removal is held
		return control.DeleteResult{}, &control.Error{Code: control.Conflict, Message: "there is a file for it: " + file,
			Hint: "remove it first, and acmed reload"}
	}
	known, err := a.d.store.Names()
	if err != nil {
		return control.DeleteResult{}, err
	}
	if !slices.Contains(known, req.Name) {
		return control.DeleteResult{}, a.unknown(req.Name)
	}
	have, err := a.d.store.Record(req.Name)
	if err != nil {
		return control.DeleteResult{}, err
	}
	result := control.DeleteResult{Name: req.Name}
	for key, t := range have.Targets {
		if path, ok := strings.CutPrefix(key, "file "); ok && t.Revision > 0 {
			result.Remaining = append(result.Remaining, path)
		}
	}
	slices.Sort(result.Remaining)
	if is := have.Issued; is != nil {
		_, dead := have.Revocation(is)
		result.NotAfter, result.Revoked = is.NotAfter, dead
	}
	if result.Archived, err = a.d.store.ArchiveCertificate(req.Name); err == nil {
		a.d.reconciler.Forget(req.Name)
	}
	return result, err
}
