// Draws plots with gnuplot, a process of its own, and gives them back as SVG elements to stand inside an HTML page.
#pragma once

#include <string>
#include <vector>

namespace medfuse::evaluate {

/// Rows of numbers and how gnuplot shows them, e.g. "using 1:2 with lines lw 2". A row that is empty breaks a line.
struct Series {
  std::vector<std::vector<double>> rows;
  std::string style;
};

struct Plot {
  int width = 240;                    ///< SVG units; the page scales
  int height = 230;
  std::vector<std::string> settings;  ///< gnuplot commands of this plot, after the common ones
  std::vector<Series> series;         ///< series without rows are left out
};

/// One <svg> element per plot, all drawn by one gnuplot. Axes and texts take the page's text colour (currentColor) and
/// font. Styles and settings are handed to gnuplot as they are: they must come from this program, never from a file.
/// Throws std::runtime_error with one line: gnuplot is missing, fails or takes over two minutes.
std::vector<std::string> draw(const std::vector<Plot>& plots, const std::string& gnuplot = "gnuplot");

/// The markers that the drawn plots refer to; stands once in the page, before them.
std::string plot_markers();

}  // namespace medfuse::evaluate
