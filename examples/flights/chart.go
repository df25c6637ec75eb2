package main

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// drawing is an SVG picture in the making. Lengths are in the units of its
// viewBox, colours come from the page's style by class, so that the picture
// follows the reader's choice of light or dark.
type drawing struct {
	b             strings.Builder
	width, height float64
}

// draw starts a picture. title and desc say what it shows to those who cannot
// see it.
func draw(id, title, desc string, width, height float64) *drawing {
	d := &drawing{width: width, height: height}
	fmt.Fprintf(&d.b, `<svg viewBox="0 0 %s %s" role="img" aria-labelledby="%s-title %s-desc">`, px(width), px(height), id, id)
	fmt.Fprintf(&d.b, `<title id="%s-title">%s</title><desc id="%s-desc">%s</desc>`, id, html.EscapeString(title), id, html.EscapeString(desc))
	return d
}

// end returns the finished picture.
func (d *drawing) end() template.HTML {
	d.b.WriteString("</svg>")
	return template.HTML(d.b.String()) // every text in it was escaped
}

// element writes one element with the attributes given as name, value pairs.
// tip, if not empty, is shown when the pointer rests on it.
func (d *drawing) element(name, class, tip, attrs string) {
	d.b.WriteString("<" + name)
	if class != "" {
		d.b.WriteString(` class="` + class + `"`)
	}
	d.b.WriteString(attrs)
	if tip == "" {
		d.b.WriteString("/>")
		return
	}
	d.b.WriteString("><title>" + html.EscapeString(tip) + "</title></" + name + ">")
}

func (d *drawing) line(class string, x1, y1, x2, y2 float64) {
	d.element("line", class, "", fmt.Sprintf(` x1="%s" y1="%s" x2="%s" y2="%s"`, px(x1), px(y1), px(x2), px(y2)))
}

func (d *drawing) rect(class, tip string, x, y, w, h float64) {
	d.element("rect", class, tip, fmt.Sprintf(` x="%s" y="%s" width="%s" height="%s"`, px(x), px(y), px(w), px(h)))
}

func (d *drawing) circle(class, tip string, x, y, r float64) {
	d.element("circle", class, tip, fmt.Sprintf(` cx="%s" cy="%s" r="%s"`, px(x), px(y), px(r)))
}

// path draws a line through points.
func (d *drawing) path(class string, points []point) {
	if len(points) == 0 {
		return
	}
	var b strings.Builder
	for i, p := range points {
		b.WriteString(map[bool]string{true: "M", false: "L"}[i == 0])
		b.WriteString(px(p.x) + " " + px(p.y))
	}
	d.element("path", class, "", ` d="`+b.String()+`"`)
}

// text writes s at x, y; anchor is start, middle or end.
func (d *drawing) text(class, anchor string, x, y float64, s string) {
	fmt.Fprintf(&d.b, `<text class="%s" text-anchor="%s" x="%s" y="%s">%s</text>`, class, anchor, px(x), px(y), html.EscapeString(s))
}

type point struct{ x, y float64 }

// px prints a length to a tenth, which keeps pages with thousands of marks
// small.
func px(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

// scale maps values from lo to hi to lengths.
type scale struct{ lo, hi, from, to float64 }

func (s scale) at(v float64) float64 { return s.from + (v-s.lo)/(s.hi-s.lo)*(s.to-s.from) }

// ticks returns about n round values that cover lo to hi.
func ticks(lo, hi float64, n int) []float64 {
	if hi <= lo {
		return []float64{lo}
	}
	step := math.Pow(10, math.Floor(math.Log10((hi-lo)/float64(n))))
	for _, m := range []float64{1, 2, 5, 10} {
		if (hi-lo)/(step*m) <= float64(n) {
			step *= m
			break
		}
	}
	var at []float64
	for i := math.Ceil(lo/step - 1e-9); i*step <= hi+step*1e-9; i++ {
		at = append(at, i*step+0) // + 0 makes -0 a 0
	}
	return at
}

// colours is the number of steps of the colour scale: classes q0 to q6.
const colours = 7

// colour is the class of v among limits, which ascend; there are colours-1.
func colour(v float64, limits []float64) string {
	c := 0
	for c < len(limits) && v >= limits[c] {
		c++
	}
	return "q" + strconv.Itoa(c)
}

// legend draws the colour scale with its limits, starting at x, y.
func (d *drawing) legend(x, y float64, limits []float64, label func(float64) string) {
	const w, h = 44, 10
	for i := range colours {
		d.rect("q"+strconv.Itoa(i), "", x+float64(i)*w, y, w, h)
	}
	for i, l := range limits {
		d.text("tick", "middle", x+float64(i+1)*w, y+h+13, label(l))
	}
}

// project places a point of the earth on a map of the United States by Albers'
// equal-area projection, with Alaska, Hawaii and the Caribbean moved below the
// rest. The map is about 1.0 wide and 0.66 high; y grows downwards.
func project(latitude, longitude float64) point {
	switch {
	case latitude > 50: // Alaska, at a third of its size
		return inset(albers(latitude, longitude, 55, 65, 50, -154), 0.31, point{0.14, 0.68})
	case longitude < -140: // Hawaii, and the Pacific beyond
		return inset(albers(latitude, longitude, 8, 18, 20, -157), 1, point{0.325, 0.605})
	case latitude < 24 && longitude > -70: // Puerto Rico and the Virgin Islands
		return inset(albers(latitude, longitude, 8, 18, 18, -66), 1, point{0.885, 0.605})
	}
	return inset(albers(latitude, longitude, 29.5, 45.5, 37.5, -96), 1, point{0.5, 0.3})
}

func inset(p point, by float64, at point) point {
	const size = 0.72 // of the 48 states, in radians of the projection's plane
	return point{p.x/size*by*0.9 + at.x, p.y/size*by*0.9 + at.y}
}

// albers projects with standard parallels south and north around an origin;
// all in degrees.
func albers(latitude, longitude, south, north, latitude0, longitude0 float64) point {
	rad := func(deg float64) float64 { return deg * math.Pi / 180 }
	s, c := math.Sincos(rad(south))
	n := (s + math.Sin(rad(north))) / 2
	g := c*c + 2*n*s
	rho := func(lat float64) float64 { return math.Sqrt(g-2*n*math.Sin(rad(lat))) / n }
	sin, cos := math.Sincos(n * rad(longitude-longitude0))
	return point{rho(latitude) * sin, -(rho(latitude0) - rho(latitude)*cos)}
}
