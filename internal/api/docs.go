package api

import (
	"embed"
	"net/http"
)

// docsFiles is a page that shows the OpenAPI document without asking any
// other host for anything.
//
//go:embed docs/index.html docs/docs.js docs/docs.css
var docsFiles embed.FS

func docsRoutes(mux *http.ServeMux) {
	serve := func(pattern, file, mediaType string) {
		mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, _ *http.Request) {
			content, err := docsFiles.ReadFile("docs/" + file)
			if err != nil {
				panic(err) // embedded: cannot be missing
			}
			w.Header().Set("Content-Type", mediaType)
			w.Header().Set("Content-Security-Policy",
				"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
			_, _ = w.Write(content) // the client is gone; nothing is left to tell it
		})
	}
	serve("/docs", "index.html", "text/html; charset=utf-8")
	serve("/docs/docs.js", "docs.js", "text/javascript; charset=utf-8")
	serve("/docs/docs.css", "docs.css", "text/css; charset=utf-8")
}
