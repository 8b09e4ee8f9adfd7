<?php
$route = 'public';
require __DIR__ . "/../served.php";
