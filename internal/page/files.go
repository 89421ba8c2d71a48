package page

import "acmed/internal/control"

// badFile is one file that is not in effect as it is written, with all that is wrong with it.
type badFile struct {
	File     string
	Problems []control.Problem
	Kept     bool // its last valid version stays in effect
}

// files takes the problems of a few files, each file once.
func (v *view) files(problems []control.Problem) {
	at := map[string]int{} // in v.Files
	for _, p := range problems {
		i, known := at[p.File]
		if !known {
			i, at[p.File] = len(at), len(at)
			if i < fewUrgent {
				v.Files = append(v.Files, badFile{File: p.File})
			}
		}
		if i < fewUrgent {
			v.Files[i].Problems, v.Files[i].Kept = append(v.Files[i].Problems, p), v.Files[i].Kept || p.Kept
		}
	}
	v.MoreBads = max(0, len(at)-fewUrgent)
}
